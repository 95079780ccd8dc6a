"""Compute embeddings: the feature statistics of every image and view, once."""

import csv
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from deepfake.common import progress
from deepfake.common.errors import PipelineError
from deepfake.common.files import replacing, write_json
from deepfake.common.labels import SPLITS
from deepfake.data import shards

# From images to the features (views, d) float32 of each, in the same order.
Extract = Callable[[Iterator[shards.ImageFile]], Iterator[np.ndarray]]


def compute(
    images: Path | str,
    directory: Path | str,
    extract: Extract,
    *,
    describe: dict[str, Any],
    batch_size: int,
    work: Path,
) -> None:
    """Embed every image of the shards in `images` into `directory`.

    Args:
        images: the folder of shards.
        directory: the folder of embeddings; see `data.embeddings`.
        extract: computes the features.
        describe: what the embeddings are, with `views` and `dimensions`; becomes `features.json`.
        batch_size: images that `extract` computes together.
        work: a folder in which a killed run left what it had computed. Whole batches in it are
            not computed again.
    """
    directory = Path(directory)
    for split in SPLITS:
        _embed_split(images, directory, split, extract, describe, batch_size, work)
    write_json(directory / "features.json", describe)


def write_index(images: Path | str, directory: Path | str, describe: dict[str, Any]) -> None:
    """Write which images there are, without features: `{split}.csv` and `features.json`."""
    directory = Path(directory)
    for split in SPLITS:
        _write_csv(directory / f"{split}.csv", shards.index(images, split))
    write_json(directory / "features.json", describe)


def _embed_split(
    images: Path | str,
    directory: Path,
    split: str,
    extract: Extract,
    describe: dict[str, Any],
    batch_size: int,
    work: Path,
) -> None:
    shape = (shards.count(images, split), len(describe["views"]), describe["dimensions"])
    index: list[tuple[str, int]] = []
    with open(work / f"{split}.f32", "ab") as file:
        done = _whole_batches(file, shape, batch_size)
        image_files = islice(_indexed(shards.image_files(images, split), index), done, None)
        with progress.bar(shape[0], f"embed {split}", "images", start=done) as shown:
            for row in extract(image_files):
                if not np.isfinite(row).all():
                    raise PipelineError(
                        "the backbone gave features that are not finite; its precision is "
                        "probably too low: set backbone.precision to float32"
                    )
                file.write(row.astype("<f4", copy=False).tobytes())
                shown.update(1)
    _write_npy(directory / f"{split}.npy", work / f"{split}.f32", shape)
    _write_csv(directory / f"{split}.csv", index)


def _write_csv(path: Path, index: list[tuple[str, int]]) -> None:
    """Write the `image_id` and label of each image."""
    with (
        replacing(path) as partial,
        open(partial, "w", encoding="utf-8", newline="") as table,
    ):
        csv.writer(table, lineterminator="\n").writerows([("image_id", "label"), *index])


def _indexed(
    image_files: Iterable[shards.ImageFile], index: list[tuple[str, int]]
) -> Iterator[shards.ImageFile]:
    """Pass the images on, and append the `image_id` and label of each to `index`."""
    for image_file in image_files:
        index.append((image_file.image_id, image_file.label))
        yield image_file


def _whole_batches(file: Any, shape: tuple[int, int, int], batch_size: int) -> int:
    """Cut an interrupted file back to whole batches; return the number of images that it holds."""
    row = shape[1] * shape[2] * 4
    done = file.tell() // row
    if done < shape[0]:
        done -= done % batch_size
    file.truncate(done * row)
    return int(done)


def _write_npy(path: Path, raw: Path, shape: tuple[int, int, int]) -> None:
    """Write the raw float32 values of `raw` as a `.npy` file."""
    with replacing(path) as partial, open(partial, "wb") as target:
        header = {"descr": "<f4", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(target, header)
        with open(raw, "rb") as source:
            while piece := source.read(1 << 24):
                target.write(piece)
