"""Read every image of a source, check that it can be decoded, and write it to the shards."""

import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from deepfake.common.environment import cores
from deepfake.common.errors import PipelineError
from deepfake.common.files import move, sync, write_json, writing
from deepfake.common.labels import LABEL_NAMES
from deepfake.common.progress import shown
from deepfake.common.threads import ordered
from deepfake.data import images, shards
from deepfake.data.shards import ImageFile, ShardWriter
from deepfake.ingest.duplicates import THREADS_PER_CORE
from deepfake.ingest.near_duplicates import HashesBySplit, perceptual_hash
from deepfake.ingest.planning import (
    Plan,
    check_classes,
    check_ids,
    image_id,
    make_plan,
    split_of,
)
from deepfake.ingest.summary import check_bad, make_report, near_duplicates_report
from deepfake.params import DataParams
from deepfake.sources.base import Entry, Rejected, Source, Unreadable

REPORT = "report.json"
_LABELS = {name: label for label, name in LABEL_NAMES.items()}
_NO_HASH: NDArray[np.uint8] = np.zeros(0, dtype=np.uint8)


class Checked(NamedTuple):
    """An image after it was read and decoded once.

    Attributes:
        result: the image with its bytes, or why it cannot be used.
        hash: the perceptual hash, uint8 of shape (32,); of shape (0,) for a rejected image.
    """

    entry: Entry
    result: ImageFile | Rejected
    hash: NDArray[np.uint8]


def ingest(source: Source, params: DataParams, seed: int, directory: Path | str) -> dict[str, Any]:
    """Check every image of a source and write the usable ones to shards in `directory`.

    On success the new shards replace everything in `directory`; on failure `directory` is
    unchanged.

    Returns:
        The report, as written to `report.json` next to the shards.

    Raises:
        PipelineError: too many images are unusable, a class is empty, or the disk is too full.
    """
    directory = Path(directory)
    plan = make_plan(source, params, seed)
    drop_from_train = params.near_duplicates.drop_from_train
    with replacing_directory(directory) as partial:
        # What a killed run left is removed by now, so that its room counts as free.
        _require_space(source, plan.placed, directory, twice=drop_from_train)
        counts, rejected, hashes = write_shards(source, plan, partial, params.shard_megabytes)
        check_bad(rejected, len(plan.placed) + len(plan.rejected), params.max_bad_fraction)
        pairs = hashes.near_duplicates(params.near_duplicates.max_distance)
        dropped = [pair for pair in pairs if pair["split"] == "train" and drop_from_train]
        paths = {pair["path"] for pair in dropped}
        hashes.write(partial, without=paths)
        if dropped:
            _rewrite_without(partial, "train", paths, params.shard_megabytes)
            counts.subtract(("train", _LABELS[pair["label"]]) for pair in dropped)
        check_classes(counts, "after unusable images were taken out")
        near = near_duplicates_report(pairs, params.near_duplicates.max_distance, len(dropped))
        report = make_report(source.describe(), plan, counts, rejected, near)
        write_json(partial / REPORT, report)
    return report


def read_all(source: Source, placed: list[Entry]) -> Iterator[Checked]:
    """Read, decode and hash each image, in order, by threads.

    Raises:
        PipelineError: two paths have the same `image_id`.
    """
    check_ids([entry.path for entry in placed])

    def read(entry: Entry) -> Checked:
        try:
            data = source.read(entry)
            hash = images.with_pixels(data, perceptual_hash)
        except (Unreadable, images.BadImage) as error:
            return Checked(entry, Rejected(entry.path, error.reason), _NO_HASH)
        name, split = image_id(entry.path), split_of(entry)
        found = ImageFile(name, entry.label, split, entry.path, data, entry.source)
        return Checked(entry, found, hash)

    return ordered(
        read, placed, THREADS_PER_CORE * cores(), size=lambda entry: source.stated(entry)[0]
    )


def write_shards(
    source: Source, plan: Plan, directory: Path, megabytes: float
) -> tuple[Counter[tuple[str, int]], list[Rejected], HashesBySplit]:
    """Write the usable images of a plan to shards in `directory`.

    Returns:
        The images written by split and label, all rejected images sorted by path (those of the
        plan included), and the hashes of the images written.
    """
    counts: Counter[tuple[str, int]] = Counter()
    rejected = list(plan.rejected)
    hashes = HashesBySplit()
    with ShardWriter(directory, megabytes) as writer:
        results = read_all(source, plan.placed)
        for entry, result, hash in shown(results, len(plan.placed), "ingest", "images"):
            if isinstance(result, Rejected):
                rejected.append(result)
            else:
                writer.write(result)
                counts[split_of(entry), entry.label] += 1
                hashes.add(entry, hash)
    rejected.sort(key=lambda item: item.path)
    return counts, rejected, hashes


def _rewrite_without(directory: Path, split: str, paths: set[str], megabytes: float) -> None:
    """Rewrite a split's shards without the images at `paths`."""
    rewritten = directory / ".partial-rewritten"
    with ShardWriter(rewritten, megabytes) as writer:
        for image_file in shards.image_files(directory, split):
            if image_file.path not in paths:
                writer.write(image_file)
    for path in shards.shards(directory, split):
        path.unlink()
    for path in rewritten.iterdir():
        path.rename(directory / path.name)
    rewritten.rmdir()


def _require_space(source: Source, placed: list[Entry], directory: Path, twice: bool) -> None:
    """Raise PipelineError if the disk has no room for the shards.

    Args:
        twice: whether the shards of `train` may be written a second time.
    """
    copies = {"train": 2 if twice else 1}
    needed = sum(source.stated(item)[0] * copies.get(split_of(item), 1) for item in placed)
    free = shutil.disk_usage(directory.absolute().parent).free
    if needed > free:
        raise PipelineError(
            f"the images need {needed / 1e6:.0f} MB in {directory}, where {free / 1e6:.0f} MB "
            "are free: make room, or take fewer by data.limit_per_class"
        )


@contextmanager
def replacing_directory(directory: Path) -> Iterator[Path]:
    """Yield an empty directory next to `directory`.

    On success it replaces `directory`, also if the power fails at once; on failure it is deleted.
    """
    partial = directory.with_name(f".partial-{directory.name}")
    former = directory.with_name(f".former-{directory.name}")
    if former.exists() and not directory.exists():
        move(former, directory)  # an earlier run was killed between the two renames below
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        with writing(directory):
            yield partial
        for file in partial.rglob("*"):
            sync(file)
        # Two renames, so that a kill at any moment leaves one of the two directories complete.
        if directory.exists():
            shutil.rmtree(former, ignore_errors=True)
            move(directory, former)
        move(partial, directory)
        shutil.rmtree(former, ignore_errors=True)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
