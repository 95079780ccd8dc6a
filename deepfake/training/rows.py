"""The rows that a head learns from: embeddings whitened and standardised, one row a view."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deepfake.data import embeddings
from deepfake.data.array_file import ArrayFile
from deepfake.models.head import Head
from deepfake.models.whitening import Whitener

_PART_BYTES = 1_000_000  # of float64 rows computed with at a time: they stay in a core's cache
_CONSTANT = 1e-5  # a standard deviation below this share of the mean is rounding, not signal


@dataclass(frozen=True)
class Scaling:
    """What is done to raw features before a head learns from them: whitened, less a mean, divided
    by a standard deviation.

    Attributes:
        whitener: the linear map.
        mean, std: of whitened features, float64 (d,).
        raw_mean, raw_std: of raw ones, likewise.
    """

    whitener: Whitener
    mean: np.ndarray
    std: np.ndarray
    raw_mean: np.ndarray
    raw_std: np.ndarray

    @classmethod
    def fit(cls, features: np.ndarray | ArrayFile, whitener: Whitener) -> "Scaling":
        """Take the moments over images and views of (n, views, d)."""
        raw = moments(features, Whitener())
        return cls(whitener, *(moments(features, whitener) if whitener.matrices else raw), *raw)

    def __call__(self, raw: np.ndarray) -> np.ndarray:
        """Rows (n, d) float32 of raw features (n, d) float32."""
        scaled: np.ndarray = self.whitener(raw) - self.mean.astype("float32")
        scaled /= self.std.astype("float32")
        return scaled

    def head(self, kernels: list[np.ndarray], biases: list[np.ndarray]) -> Head:
        """The head that scores raw features as these layers score rows.

        Whitening and standardisation are linear, so that they go into the first layer.
        """
        unscaled = kernels[0].astype("float64") / self.std[:, None]
        folded = self.whitener.folded(unscaled)
        first = biases[0] + self.raw_mean @ folded - self.mean @ unscaled
        return Head(
            self.raw_mean.astype("float32"),
            (self.raw_std**2).astype("float32"),
            [np.asarray(k, "float32") for k in (folded * self.raw_std[:, None], *kernels[1:])],
            [np.asarray(b, "float32") for b in (first, *biases[1:])],
        )


def moments(features: np.ndarray | ArrayFile, whitener: Whitener) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation (d,) over images and views of (n, views, d), whitened.

    The standard deviation of a constant feature is given as 1, so that the feature stays near 0
    instead of becoming amplified noise.
    """
    count, total, squares = 0, 0.0, 0.0
    # Subtracting the first row keeps the squares small, so that their difference keeps its digits.
    first = features[:1].reshape(-1, features.shape[-1])[:1].astype("float32")
    shift = whitener(first)[0].astype("float64")
    for part in embeddings.parts(features):
        wide = whitener(part).astype("float64") - shift
        count += len(wide)
        total = total + wide.sum(axis=0)
        squares = squares + (wide**2).sum(axis=0)
    mean = total / count
    std = np.sqrt(np.maximum(squares / count - mean**2, 0))
    mean = mean + shift
    constant = std <= _CONSTANT * np.abs(mean) + np.finfo("float32").tiny
    return mean, np.where(constant, 1, std)


class Rows:
    """The rows of embeddings (n, views, d), a block of images at a time, as (images * views, d)
    float32.

    They are computed once and kept in a file. The last block read stays in memory; small
    embeddings are a single block, read once.

    Attributes:
        places: the images of each block.
        views: rows of an image.
    """

    def __init__(self, scaling: Scaling, features: np.ndarray | ArrayFile, file: Path) -> None:
        self.places, self.views = embeddings.blocks(features), features.shape[1]
        file.unlink(missing_ok=True)  # of a killed run
        self._rows = ArrayFile(file, features.shape[2:], "float32")
        for part in embeddings.parts(features):
            self._rows.append(scaling(part))
        self._kept: tuple[int, np.ndarray] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """All rows, and d."""
        return self._rows.shape

    def __getitem__(self, number: int) -> np.ndarray:
        if self._kept is None or self._kept[0] != number:
            self._kept = None  # frees it before the next one is read
            place = self.places[number]
            self._kept = number, self._rows[place.start * self.views : place.stop * self.views]
        return self._kept[1]

    def parts(self) -> Iterator[tuple[slice, np.ndarray]]:
        """All rows as float64, a few at a time, each time with their places among all of them.

        The array is the same each time: what it holds counts until the next one is asked for.
        """
        step = max(1, _PART_BYTES // (8 * self.shape[1]))
        buffer = np.empty((step, self.shape[1]))
        for place, block in self.blocks():
            for start in range(0, len(block), step):
                part = block[start : start + step]
                np.copyto(buffer[: len(part)], part)
                yield (
                    slice(place.start + start, place.start + start + len(part)),
                    buffer[: len(part)],
                )

    def blocks(self) -> Iterator[tuple[slice, np.ndarray]]:
        """Each block, with the places of its rows among all of them."""
        for number, place in enumerate(self.places):
            yield slice(place.start * self.views, place.stop * self.views), self[number]
