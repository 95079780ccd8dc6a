"""Whitening of covariance features: what remains when the usual texture of an image is divided out.

Channels of a network are correlated in every image, and most of a covariance says only that. In
coordinates in which the average covariance of the training images is the identity, each entry
tells how this image departs from the average one (second-order pooling: Li et al. 2017, arXiv
1703.08050; the linear map takes the place of its matrix logarithm or root).

The map is ZCA, U a^(-1/2) U', the symmetric one of all that whiten: it does not depend on the signs
and the order that an eigensolver happens to give eigenvectors.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepfake.data.array_file import ArrayFile
from deepfake.data.embeddings import parts

_FLOOR = 1e-4  # added to the eigenvalues, as a share of their mean
_ROOT_2 = np.sqrt(2.0)

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Whitener:
    """A linear map of features (n, d) that consist of blocks, one for each layer and scale.

    A block has the mean m (c,) of the activations and the upper triangle, by rows, of their
    covariance C (c, c). It is mapped to W m and the upper triangle of W C W, off-diagonal entries
    times the root of 2, so that distances are those between the matrices.

    Attributes:
        matrices: the symmetric W (c, c) float64 of each block; none: features stay as they are.
    """

    matrices: Sequence[NDArray[np.float64]] = ()

    @classmethod
    def fit(cls, features: np.ndarray | ArrayFile, channels: Sequence[int]) -> "Whitener":
        """Whiten with the mean covariance over images and views of (n, views, d).

        Args:
            features: raw; labels are not needed.
            channels: of each block.
        """
        total, count = np.zeros(features.shape[-1]), 0
        for part in parts(features):
            total += part.sum(axis=0, dtype="float64")
            count += len(part)
        average = [full(block[size:], size) for block, size in _blocks(total / count, channels)]
        return cls([_inverse_root(covariance) for covariance in average])

    def __call__(self, raw: np.ndarray) -> np.ndarray:
        """Map raw features (n, d), in their precision."""
        if not self.matrices:
            return raw
        parts = []
        for (block, size), matrix in zip(
            _blocks(raw, [len(m) for m in self.matrices]), self.matrices, strict=True
        ):
            w = matrix.astype(raw.dtype)
            rows, columns, scale = _triangle(size)
            parts.append(block[:, :size] @ w)
            # C and W are symmetric, so that (C W)' W is W C W: two large products in place of 2 n.
            once = (full(block[:, size:], size).reshape(-1, size) @ w).reshape(-1, size, size)
            whitened = once.swapaxes(1, 2).reshape(-1, size) @ w
            upper = whitened.reshape(len(raw), -1).take(rows * size + columns, axis=1)
            parts.append(upper * scale.astype(raw.dtype))
        return np.concatenate(parts, axis=1)

    def folded(self, kernel: np.ndarray) -> np.ndarray:
        """The kernel (d, units) float64 that gives on raw features what `kernel` gives on mapped
        ones: the transpose of the map."""
        if not self.matrices:
            return kernel
        parts = []
        for (block, size), w in zip(
            _blocks(kernel.T, [len(m) for m in self.matrices]), self.matrices, strict=True
        ):
            rows, columns, scale = _triangle(size)
            parts.append(block[:, :size] @ w)
            # A triangle's entry stands for two of the matrix, and <K, W C W> = <W K W, C>.
            symmetric = full(block[:, size:] * scale / np.where(rows == columns, 1, 2), size)
            inner = (w @ symmetric @ w)[:, rows, columns]
            parts.append(inner * np.where(rows == columns, 1, 2))
        return np.concatenate(parts, axis=-1).T


def width(channels: int) -> int:
    """The number of features of a block: means and the upper triangle of the covariance."""
    return channels + channels * (channels + 1) // 2


def full(triangle: np.ndarray, size: int) -> np.ndarray:
    """Symmetric matrices (..., size, size) of upper triangles (..., size * (size + 1) / 2)."""
    return triangle.take(places(size), axis=-1).reshape(*triangle.shape[:-1], size, size)


def places(size: int) -> NDArray[np.intp]:
    """For each entry of a symmetric matrix, by rows, its place in the upper triangle."""
    rows, columns = np.triu_indices(size)
    index = np.empty((size, size), dtype=np.intp)
    index[rows, columns] = index[columns, rows] = np.arange(len(rows))
    return index.reshape(-1)


def _triangle(size: int) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]:
    """Rows and columns of the upper triangle, and the factor of each of its entries."""
    rows, columns = np.triu_indices(size)
    return rows, columns, np.where(rows == columns, 1, _ROOT_2)


def _blocks(features: np.ndarray, channels: Sequence[int]) -> list[tuple[np.ndarray, int]]:
    """The blocks (..., width) of features (..., d), each with its number of channels."""
    ends = list(accumulate(width(size) for size in channels))
    if features.shape[-1] != ends[-1]:
        raise ValueError(f"{channels} channels have {ends[-1]} features, not {features.shape[-1]}")
    return [
        (features[..., end - width(size) : end], size)
        for end, size in zip(ends, channels, strict=True)
    ]


def _inverse_root(covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    values, vectors = np.linalg.eigh(covariance)
    values = np.maximum(values, 0)
    # A layer that is dead in every image has no scale of its own.
    floored = values + _FLOOR * values.mean() + np.finfo("float32").tiny
    root: NDArray[np.float64] = (vectors / np.sqrt(floored)) @ vectors.T
    return (root + root.T) / 2


def as_keras(whitener: Whitener, dimensions: int) -> Any:
    """The same map as a Keras model of features (batch, dimensions), for fine-tuning."""
    import keras
    from keras import layers, ops

    raw = keras.Input((dimensions,), dtype="float32", name="raw")
    if not whitener.matrices:
        return keras.Model(raw, raw * 1.0, name="whiten")
    parts, end = [], 0
    for matrix in whitener.matrices:
        size = len(matrix)
        start, end = end, end + width(size)
        w = ops.convert_to_tensor(matrix.astype("float32"))
        rows, columns, scale = _triangle(size)
        parts.append(ops.matmul(raw[:, start : start + size], w))
        square = ops.take(raw[:, start + size : end], places(size), axis=1)
        whitened = ops.matmul(w, ops.matmul(layers.Reshape((size, size))(square), w))
        flat = layers.Reshape((size * size,))(whitened)
        parts.append(ops.take(flat, rows * size + columns, axis=1) * scale.astype("float32"))
    return keras.Model(raw, ops.concatenate(parts, axis=-1), name="whiten")
