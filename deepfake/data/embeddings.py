"""Embeddings: the feature statistics of every image and view, computed once.

On disk, for each split, `{split}.npy` (images, views, d) float32 and `{split}.csv` with
`image_id` and `label` in the same order; `features.json` says what they are.
"""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deepfake.common.errors import PipelineError
from deepfake.common.files import read_json

BLOCK_BYTES = 128_000_000  # rows of embeddings kept in memory together
PART_BYTES = 8_000_000  # and worked on together


class Rows:
    """An array (n, views, d) float32 in a `.npy` file, read a slice of rows at a time.

    Not memory-mapped: all that was ever read would then count as the process's memory.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with open(path, "rb") as file:
            np.lib.format.read_magic(file)
            self.shape, _, _ = np.lib.format.read_array_header_1_0(file)
            self._offset = file.tell()

    def __len__(self) -> int:
        return int(self.shape[0])

    def __getitem__(self, rows: slice) -> np.ndarray:
        start, stop, _ = rows.indices(len(self))
        width = int(np.prod(self.shape[1:]))
        count, offset = (stop - start) * width, self._offset + start * width * 4
        values = np.fromfile(self._path, "<f4", count=count, offset=offset)
        return values.reshape(-1, *self.shape[1:])


@dataclass(frozen=True)
class Embeddings:
    """One split's embeddings: `labels` (n,) int8, `features` (n, views, d) float32."""

    labels: np.ndarray
    features: np.ndarray | Rows

    @classmethod
    def open(cls, directory: Path | str, split: str) -> "Embeddings":
        labels = np.array([int(label) for label in _column(directory, split, "label")], "int8")
        features = Rows(Path(directory) / f"{split}.npy")
        if len(labels) != len(features):
            raise PipelineError(
                f"{directory}/{split}.npy has {len(features)} rows and {split}.csv {len(labels)}: "
                "run `dvc repro -f embed`"
            )
        return cls(labels, features)


def image_ids(directory: Path | str, split: str) -> list[str]:
    """The `image_id` of each row of one split's embeddings."""
    return list(_column(directory, split, "image_id"))


def _column(directory: Path | str, split: str, name: str) -> Iterator[str]:
    with open(Path(directory) / f"{split}.csv", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            yield row[name]


def description(directory: Path | str) -> dict[str, Any]:
    """What `features.json` says: layers, statistics, views, image_size, weights, dimensions."""
    return dict(read_json(Path(directory) / "features.json"))


def blocks(features: np.ndarray | Rows) -> list[slice]:
    """Consecutive rows of (n, views, d), of at most `BLOCK_BYTES` each."""
    return _slices(features, slice(0, len(features)), BLOCK_BYTES)


def parts(features: np.ndarray | Rows, rows: slice | None = None) -> Iterator[np.ndarray]:
    """Consecutive rows of (n, views, d), or of some of them, as (m, d): those of at most
    `PART_BYTES` in memory at a time, so that what is computed of them stays small."""
    for part in _slices(features, rows or slice(0, len(features)), PART_BYTES):
        yield features[part].reshape(-1, features.shape[-1])


def _slices(features: np.ndarray | Rows, rows: slice, size: int) -> list[slice]:
    step = max(1, size // (4 * int(np.prod(features.shape[1:])) or 1))
    return [slice(i, min(i + step, rows.stop)) for i in range(rows.start, rows.stop, step)]
