"""Compute embeddings: the feature statistics of every image and view, once."""

import csv
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from deepfake.common import progress
from deepfake.common.errors import PipelineError
from deepfake.common.files import replacing, write_json, writing
from deepfake.common.labels import SPLITS
from deepfake.data import embeddings, shards
from deepfake.inference.draws import with_draws
from deepfake.inference.kept_blocks import KeptBlocks
from deepfake.params import DrawParams

# From images to the features (views, d) float32 of each, in the same order.
Extract = Callable[[Iterator[shards.ImageFile]], Iterator[np.ndarray]]
# From a split, what is drawn, and the number of an image, to the features of each image from that
# one on, as they are stored.
Compute = Callable[[str, DrawParams, int], Iterator[np.ndarray]]


def compute(
    images: Path | str,
    directory: Path | str,
    computed: Compute,
    *,
    describe: dict[str, Any],
    augment: DrawParams,
    batch_size: int,
    work: Path,
) -> None:
    """Embed every image of the shards in `images` into `directory`.

    Args:
        images: the folder of shards.
        directory: the folder of embeddings; see `data.embeddings`.
        computed: computes the features; see `here`.
        describe: what the embeddings are, with `views` and `dimensions`; becomes `features.json`.
        augment: which altered versions of the training images are embedded as well.
        batch_size: images that have a checksum together in the unfinished work.
        work: a folder in which a killed run left what it had computed. Whole batches in it are
            not computed again, up to one whose checksum is another.
    """
    directory = Path(directory)
    for split in SPLITS:
        draws = augment if split == "train" else augment.model_copy(update={"draws": 0})
        _embed_split(images, directory, split, computed, describe, draws, batch_size, work)
    write_json(directory / "features.json", describe)


def here(images: Path | str, extract: Extract, seed: int) -> Compute:
    """What computes features in this process.

    Args:
        images: the folder of shards.
        extract: computes the features.
        seed: of what is drawn.
    """

    def computed(split: str, draws: DrawParams, start: int) -> Iterator[np.ndarray]:
        image_files = islice(shards.image_files(images, split), start, None)
        return stored(image_files, extract, split, draws, seed)

    return computed


def stored(
    image_files: Iterable[shards.ImageFile],
    extract: Extract,
    split: str,
    draws: DrawParams,
    seed: int,
) -> Iterator[np.ndarray]:
    """Yield the features (versions x views, d) of each image, in the type in which they are stored.

    Raises:
        PipelineError: a feature is not finite, or too large for that type.
    """
    found = extract(with_draws(image_files, draws, seed))
    for rows in shards.batches(found, 1 + draws.draws):  # the versions of an image
        yield _stored(np.concatenate(rows), embeddings.DTYPES[split])


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
    computed: Compute,
    describe: dict[str, Any],
    draws: DrawParams,
    batch_size: int,
    work: Path,
) -> None:
    views = (1 + draws.draws) * len(describe["views"])
    shape = (shards.count(images, split), views, describe["dimensions"])
    dtype, unfinished = embeddings.DTYPES[split], work / f"{split}.rows"
    image_bytes = shape[1] * shape[2] * dtype.itemsize
    with (
        writing(unfinished),
        KeptBlocks(unfinished, image_bytes, batch_size, shape[0]) as kept,
        progress.bar(shape[0], f"embed {split}", "images", start=kept.done) as shown,
    ):
        for features in computed(split, draws, kept.done):
            kept.append(features.tobytes())
            shown.update(1)
    _write_npy(directory / f"{split}.npy", unfinished, shape, dtype)
    _write_csv(directory / f"{split}.csv", shards.index(images, split))


def _write_csv(path: Path, index: list[tuple[str, int]]) -> None:
    """Write the `image_id` and label of each image."""
    with (
        replacing(path) as partial,
        open(partial, "w", encoding="utf-8", newline="") as table,
    ):
        csv.writer(table, lineterminator="\n").writerows([("image_id", "label"), *index])


def _stored(features: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    """Features as they are kept on disk.

    Raises:
        PipelineError: a feature is not finite, or too large for `dtype`.
    """
    with np.errstate(over="ignore"):  # becomes infinite, which is refused next
        stored = features.astype(dtype, copy=False)
    if not np.isfinite(features).all():
        raise PipelineError(
            "the backbone gave features that are not finite; its precision is probably too low: "
            "set backbone.precision to float32"
        )
    if not np.isfinite(stored).all():
        raise PipelineError(
            f"embed: a feature of {np.abs(features).max():.3g} is more than {dtype.name} holds; "
            "embed.pooling: covariance is meant for the linear bottlenecks, such as "
            "block_6_project_BN and block_8_add: see embed.layers"
        )
    return np.asarray(stored)


def _write_npy(path: Path, raw: Path, shape: tuple[int, int, int], dtype: np.dtype[Any]) -> None:
    """Write the raw values of `raw` as a `.npy` file."""
    with replacing(path) as partial, open(partial, "wb") as target:
        header = {"descr": dtype.str, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(target, header)
        with open(raw, "rb") as source:
            while piece := source.read(1 << 24):
                target.write(piece)
