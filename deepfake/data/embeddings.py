"""Embeddings: the feature statistics of every image and view, computed once.

On disk, for each split, `{split}.npy` (images, views, d) of type `DTYPES[split]`, and `{split}.csv`
with `image_id` and `label` in the same order; `features.json` says what they are. `train` also has
the views of altered versions of each image, behind its own, if `embed.augment` asks for them.
"""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deepfake.common.errors import PipelineError
from deepfake.common.files import read_json, reading
from deepfake.data.array_file import ArrayFile

# Half precision costs nothing that can be measured in learning (docs/results.md) and halves the
# largest file. What is scored is kept as it was computed.
DTYPES: dict[str, np.dtype[Any]] = {
    "train": np.dtype("<f2"),
    "valid": np.dtype("<f4"),
    "test": np.dtype("<f4"),
}

BLOCK_BYTES = 1_000_000_000  # embeddings kept in memory at a time, as float32
PART_BYTES = 8_000_000  # embeddings computed with at a time, as float32


@dataclass(frozen=True)
class Embeddings:
    """One split's embeddings: `labels` (n,) int8, `features` (n, views, d)."""

    labels: np.ndarray
    features: np.ndarray | ArrayFile

    @classmethod
    def open(cls, directory: Path | str, split: str) -> "Embeddings":
        """Read the labels, and open the features without reading them.

        Raises:
            PipelineError: the two files do not have the same number of rows.
        """
        labels = np.array([int(label) for label in _column(directory, split, "label")], "int8")
        features = ArrayFile.npy(Path(directory) / f"{split}.npy")
        if len(labels) != len(features):
            raise PipelineError(
                f"{directory}/{split}.npy has {len(features)} rows and {split}.csv {len(labels)}: "
                "run `dvc repro -f embed`"
            )
        return cls(labels, features)


def image_ids(directory: Path | str, split: str) -> list[str]:
    """The `image_id` of each row of one split's embeddings."""
    return _column(directory, split, "image_id")


def _column(directory: Path | str, split: str, name: str) -> list[str]:
    path = Path(directory) / f"{split}.csv"
    with reading(path), open(path, encoding="utf-8", newline="") as file:
        return [row[name] for row in csv.DictReader(file)]


def description(directory: Path | str) -> dict[str, Any]:
    """The content of `features.json`: layers, statistics, views, weights, dimensions and more."""
    return dict(read_json(Path(directory) / "features.json"))


def blocks(features: np.ndarray | ArrayFile) -> list[slice]:
    """The rows of (n, views, d) in consecutive slices of at most `BLOCK_BYTES` each."""
    return _slices(features, slice(0, len(features)), BLOCK_BYTES)


def parts(features: np.ndarray | ArrayFile, rows: slice | None = None) -> Iterator[np.ndarray]:
    """Read (n, views, d), or these rows of it, in float32 parts (m, d) of at most `PART_BYTES`, so
    that intermediate results stay small."""
    for part in _slices(features, rows or slice(0, len(features)), PART_BYTES):
        yield features[part].reshape(-1, features.shape[-1]).astype("float32", copy=False)


def _slices(features: np.ndarray | ArrayFile, rows: slice, size: int) -> list[slice]:
    step = max(1, size // (4 * int(np.prod(features.shape[1:])) or 1))
    return [slice(i, min(i + step, rows.stop)) for i in range(rows.start, rows.stop, step)]
