"""What each position of a network's activations adds to the logit.

The head sees statistics of activations over the positions of an image: means, standard deviations,
covariances. Each of them is a sum over positions, so that a linear head's logit is one, too.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_STD_FLOOR = 1e-12  # of the variance, as in models.pooling


def statistics(names: Sequence[str], activations: NDArray[Any]) -> list[Array]:
    """Each statistic of activations (h, w, c), as `models.pooling.statistic` computes it."""
    rows = _rows(activations)
    centred = rows - rows.mean(axis=0)
    found = []
    for name in names:
        if name == "mean":
            found.append(rows.mean(axis=0))
        elif name == "std":
            found.append(np.sqrt(np.maximum(rows.var(axis=0), _STD_FLOOR)))
        else:
            covariance = centred.T @ centred / len(rows)
            found.append(covariance[np.triu_indices(covariance.shape[0])])
    return found


def by_position(name: str, activations: NDArray[Any], slope: Array) -> Array:
    """The share (h, w) that each position has in `slope @ statistic`; their sum is that number.

    Args:
        name: of the statistic: `mean`, `std` or `covariance`.
        activations: (h, w, c).
        slope: of the logit, one for each value of the statistic.
    """
    height, width, channels = activations.shape
    rows = _rows(activations)
    centred = rows - rows.mean(axis=0)
    if name == "mean":
        share = rows @ slope
    elif name == "std":
        variance = rows.var(axis=0)
        std = np.sqrt(np.maximum(variance, _STD_FLOOR))
        # What the floor adds in dead channels belongs to all positions alike.
        share = centred**2 @ (slope / std) + (std - variance / std) @ slope
    else:
        matrix = np.zeros((channels, channels))
        matrix[np.triu_indices(channels)] = slope / 2
        matrix += matrix.T  # an entry off the diagonal stands for two
        share = ((centred @ matrix) * centred).sum(axis=1)
    return np.asarray(share.reshape(height, width) / (height * width))


def spread(heat: Array, size: int) -> Array:
    """Enlarge a map (h, w) to (size, size), bilinearly, so that its sum stays."""
    rows, columns = (_enlarging(length, size) for length in heat.shape)
    return rows @ heat @ columns.T


def _rows(activations: NDArray[Any]) -> Array:
    """Activations (positions, c); float64, because contributions nearly cancel."""
    return activations.reshape(-1, activations.shape[-1]).astype("float64")


def _enlarging(length: int, size: int) -> Array:
    """The matrix (size, length) that distributes each of `length` values; its columns sum to 1."""
    centres = (np.arange(size) + 0.5) * length / size - 0.5
    matrix = np.stack(
        [np.interp(centres, np.arange(length), one) for one in np.eye(length)], axis=1
    )
    return np.asarray(matrix / matrix.sum(axis=0))
