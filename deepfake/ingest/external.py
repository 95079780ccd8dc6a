"""Data sets that both models are scored on and that neither is trained on."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deepfake.common import paths
from deepfake.common.errors import PipelineError
from deepfake.common.files import reading
from deepfake.common.labels import LABEL_NAMES
from deepfake.data import shards
from deepfake.ingest.duplicates import EXAMPLES, without_both_labels
from deepfake.ingest.ingest import write_shards
from deepfake.ingest.near_duplicates import hashes_file, nearest
from deepfake.ingest.planning import Plan, in_writing_order, limited
from deepfake.ingest.summary import bad_report, check_bad
from deepfake.metadata.table import read_metadata, write_metadata
from deepfake.params import DataParams, ExternalParams
from deepfake.sources.base import Source
from deepfake.sources.folder import FolderSource
from deepfake.sources.layouts import ClassNames
from deepfake.sources.remote import located

# The split of all images of such a set, whatever splits it has of its own.
SPLIT = "test"
# The models were fitted to the first, and choices looked at the second.
_TRAINED_ON = ("train", "valid")
# A set with a larger share of exact copies of such images is refused.
MOST_COPIES = 0.5


@dataclass(frozen=True)
class Trained:
    """What identifies the images of train and valid.

    Attributes:
        sha256: of the files.
        hashes: perceptual hashes, uint8 of shape (n, 32).
    """

    sha256: frozenset[str]
    hashes: NDArray[np.uint8]

    @classmethod
    def read(cls, images: Path | str, metadata: Path | str) -> "Trained":
        """Read it from the outputs of `ingest` and of `metadata`."""
        tables = (Path(metadata) / f"{split}.csv" for split in _TRAINED_ON)
        sums = [read_metadata(table, ["sha256"])["sha256"] for table in tables]
        hashes = []
        for split in _TRAINED_ON:
            file = hashes_file(images, split)
            with reading(file):
                hashes.append(np.load(file))
        return cls(frozenset(pd.concat(sums)), np.concatenate(hashes))


@contextmanager
def opened(chosen: ExternalParams, data: DataParams) -> Iterator[FolderSource]:
    """Open an external data set; every PipelineError inside names it."""
    names = ClassNames(chosen.real or data.folder.real, chosen.fake or data.folder.fake)
    try:
        with FolderSource(
            located(chosen.path), chosen.path, names, data.archive, chosen.csv, source=chosen.name
        ) as source:
            yield source
    except PipelineError as error:
        raise PipelineError(f"evaluate.external, {chosen.name}: {error}") from None


def pack(
    source: Source,
    chosen: ExternalParams,
    data: DataParams,
    seed: int,
    trained: Trained,
    directory: Path,
) -> dict[str, Any]:
    """Check every image of a set and write the usable ones, and their metadata, to `directory`.

    Args:
        source: the set, open.
        chosen: its parameters.
        data: which images are accepted, and how they are stored.
        seed: for `limit_per_class`.
        trained: what the images must not be.

    Returns:
        Its part of `summary.json`.

    Raises:
        PipelineError: too many images are unusable, none is left, or most are training images.
    """
    plan = _plan(source, chosen, seed)
    counts, rejected, hashes = write_shards(source, plan, directory, data.shard_megabytes)
    checked = len(plan.placed) + len(plan.rejected)
    check_bad(rejected, checked, data.max_bad_fraction)
    if not counts.total():
        raise PipelineError("no image in it can be used")
    table = directory / paths.EXTERNAL_TABLE
    write_metadata(table, shards.image_files(directory, SPLIT))
    return {
        "name": chosen.name,
        "source": source.describe(),
        "counts": {name: counts[SPLIT, label] for label, name in LABEL_NAMES.items()},
        "bad": bad_report(rejected, checked),
        "left_out": plan.left_out,
        "trained_on": _trained_on(
            read_metadata(table, ["path", "sha256"]),
            hashes.array(SPLIT),
            trained,
            data.near_duplicates.max_distance,
        ),
    }


def _plan(source: Source, chosen: ExternalParams, seed: int) -> Plan:
    """All images of the set, or a seeded draw of them, as one split."""
    offer = source.offer()
    entries = limited(offer.entries, chosen.limit_per_class, seed)
    kept, refused, _ = without_both_labels(source, entries)
    left_out = Counter(offer.left_out)
    left_out["over limit_per_class"] = len(offer.entries) - len(entries)
    placed = in_writing_order(replace(entry, split=SPLIT) for entry in kept)
    return Plan(placed, [*offer.rejected, *refused], {}, dict(+left_out))


def _trained_on(
    table: pd.DataFrame, hashes: NDArray[np.uint8], trained: Trained, max_distance: int
) -> dict[str, Any]:
    """How many images of a set are images of train or valid: `copies`, byte for byte, and `near`,
    which look like one; with the paths of a few as `examples`.

    Args:
        table: columns `path` and `sha256`.
        hashes: uint8, shape (n, 32), of the rows of `table`.

    Raises:
        PipelineError: more than `MOST_COPIES` of the set are exact copies.
    """
    copies = table["sha256"].isin(trained.sha256).to_numpy()
    near = np.zeros(len(table), dtype=bool)
    near[[index for index, _, _ in nearest(hashes, trained.hashes, max_distance)]] = True
    near &= ~copies
    examples = [*table["path"][copies][:EXAMPLES], *table["path"][near][:EXAMPLES]]
    if copies.mean() > MOST_COPIES:
        raise PipelineError(
            f"{copies.sum()} of {len(table)} images are images of train or valid, byte for byte "
            f"({', '.join(examples[:EXAMPLES])}), so it says nothing about data never trained on"
        )
    return {"copies": int(copies.sum()), "near": int(near.sum()), "examples": examples}
