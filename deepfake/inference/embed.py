"""TODO of inference.embed."""

import csv
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from deepfake.common import progress, resume
from deepfake.common.errors import PipelineError
from deepfake.common.files import replacing, write_json
from deepfake.common.labels import SPLITS
from deepfake.data import shards

Extract = Callable[[Iterator[shards.ImageFile]], Iterator[np.ndarray]]


def compute(
    images: Path | str,
    directory: Path | str,
    extract: Extract,
    *,
    describe: dict[str, Any],
    batch_size: int,
    inputs: Iterable[Path],
) -> None:
    """Embed every image of the shards in `images` into `directory`.

    `describe` says what the embeddings are, `views` and `dimensions` among it, and is written to
    `features.json`. What a killed run had computed, in whole batches, is kept and not computed
    again.
    """
    directory = Path(directory)
    with resume.unfinished("embed", {**describe, "batch_size": batch_size}, inputs) as work:
        for split in SPLITS:
            _embed_split(images, directory, split, extract, describe, batch_size, work)
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
    with (
        replacing(directory / f"{split}.csv") as partial,
        open(partial, "w", encoding="utf-8", newline="") as table,
    ):
        csv.writer(table, lineterminator="\n").writerows([("image_id", "label"), *index])


def _indexed(
    image_files: Iterable[shards.ImageFile], index: list[tuple[str, int]]
) -> Iterator[shards.ImageFile]:
    for image_file in image_files:
        index.append((image_file.image_id, image_file.label))
        yield image_file


def _whole_batches(file: Any, shape: tuple[int, int, int], batch_size: int) -> int:
    """Cut an interrupted file back to whole batches; returns the images that it holds."""
    row = shape[1] * shape[2] * 4
    done = file.tell() // row
    if done < shape[0]:
        done -= done % batch_size
    file.truncate(done * row)
    return int(done)


def _write_npy(path: Path, raw: Path, shape: tuple[int, int, int]) -> None:
    """Put NumPy's header before the raw float32 values of `raw`."""
    with replacing(path) as partial, open(partial, "wb") as target:
        header = {"descr": "<f4", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(target, header)
        with open(raw, "rb") as source:
            while piece := source.read(1 << 24):
                target.write(piece)
