"""From a source to the shards: which images are used, in which split and order, and why not."""

import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepfake.common.environment import cores
from deepfake.common.errors import PipelineError
from deepfake.common.files import write_json
from deepfake.common.labels import LABEL_NAMES
from deepfake.common.progress import shown
from deepfake.common.threads import ordered
from deepfake.data import images, shards
from deepfake.data.shards import ImageFile, ShardWriter
from deepfake.ingest.near_duplicates import Looks, perceptual_hash
from deepfake.ingest.planning import (
    THREADS_A_CORE,
    _check_classes,
    _check_ids,
    image_id,
    make_plan,
    split_of,
)
from deepfake.ingest.summary import (
    LISTED,
    _bad_report,
    _by_split_and_class,
    _check_bad,
    _imbalances,
    _near_warnings,
)
from deepfake.params import DataParams
from deepfake.sources.base import Entry, Rejected, Source, Unreadable

REPORT = "report.json"
_LABELS = {name: label for label, name in LABEL_NAMES.items()}
_NO_LOOK: NDArray[np.uint8] = np.zeros(0, dtype=np.uint8)


Result = tuple[Entry, ImageFile | Rejected, NDArray[np.uint8]]


def ingest(source: Source, params: DataParams, seed: int, directory: Path | str) -> dict[str, Any]:
    """Check every image of a source and pack the good ones into shards in `directory`.

    What `directory` held is replaced as a whole, and only once everything is written.

    Returns:
        The report, as written to `report.json` beside the shards.

    Raises:
        PipelineError: the images cannot be used as asked; `directory` is as it was.
    """
    directory = Path(directory)
    plan = make_plan(source, params, seed)
    _require_space(source, plan.placed, directory, params.near_duplicates.drop_from_train)
    written: Counter[tuple[str, int]] = Counter()
    looks = Looks()
    rejected = list(plan.rejected)
    with _replacing_directory(directory) as partial:
        with ShardWriter(partial, params.shard_megabytes) as shards:
            results = read_all(source, plan.placed)
            for entry, result, look in shown(results, len(plan.placed), "ingest", "images"):
                if isinstance(result, Rejected):
                    rejected.append(result)
                else:
                    shards.write(result)
                    written[split_of(entry), entry.label] += 1
                    looks.add(entry, look)
        rejected.sort(key=lambda item: item.path)
        checked = len(plan.placed) + len(plan.rejected)
        _check_bad(rejected, checked, params.max_bad_fraction)
        near = _near_duplicates(looks, params, partial, written)
        _check_classes(written, "after unusable images were taken out")
        report = {
            "source": source.describe(),
            "counts": _by_split_and_class(written),
            "checked": checked,
            "bad": _bad_report(rejected, checked),
            "duplicates": plan.duplicates,
            "near_duplicates": near,
            "left_out": plan.left_out,
            "warnings": [*plan.warnings, *_near_warnings(near), *_imbalances(written)],
        }
        write_json(partial / REPORT, report)
    return report


def read_all(source: Source, placed: list[Entry]) -> Iterator[Result]:
    """Each image in order, read and decoded once to see that it can be, with its look: its
    perceptual hash, of no bytes for one that is rejected."""
    _check_ids([item.path for item in placed])

    def read(entry: Entry) -> Result:
        try:
            data = source.read(entry)
            look = perceptual_hash(images.decode(data))
        except (Unreadable, images.BadImage) as error:
            return entry, Rejected(entry.path, error.reason), _NO_LOOK
        split, name = split_of(entry), image_id(entry.path)
        return entry, ImageFile(name, entry.label, split, entry.path, data), look

    return ordered(read, placed, THREADS_A_CORE * cores())


def _near_duplicates(
    looks: Looks, params: DataParams, partial: Path, written: Counter[tuple[str, int]]
) -> dict[str, Any]:
    """Report images that look like one of a more important split; take those of train out of its
    shards and of `written`, if that is wanted."""
    pairs = looks.near_duplicates(params.near_duplicates.max_distance)
    counts = Counter(pair["split"] for pair in pairs)
    in_train = [pair for pair in pairs if pair["split"] == "train"]
    drop = params.near_duplicates.drop_from_train and bool(in_train)
    if drop:
        paths = {pair["path"] for pair in in_train}
        _rewrite_without(partial, "train", paths, params.shard_megabytes)
        written.subtract(("train", _LABELS[pair["label"]]) for pair in in_train)
    return {
        "max_distance": params.near_duplicates.max_distance,
        "train": counts["train"],
        "valid": counts["valid"],
        "other_label": sum(pair["label"] != pair["like_label"] for pair in pairs),
        "dropped": len(in_train) if drop else 0,
        "pairs": pairs[:LISTED],
    }


def _rewrite_without(directory: Path, split: str, paths: set[str], megabytes: float) -> None:
    """Write a split's shards anew, as if the images at some paths had never been there."""
    anew = directory / ".partial-anew"
    with ShardWriter(anew, megabytes) as writer:
        for image_file in shards.image_files(directory, split):
            if image_file.path not in paths:
                writer.write(image_file)
    for path in shards.shards(directory, split):
        path.unlink()
    for path in anew.iterdir():
        path.rename(directory / path.name)
    anew.rmdir()


def _require_space(source: Source, placed: list[Entry], directory: Path, twice: bool) -> None:
    """Raises PipelineError if the disk has no room for the shards.

    Args:
        twice: whether train may be written a second time.
    """
    copies = {"train": 2 if twice else 1}
    needed = sum(source.stated(item)[0] * copies.get(split_of(item), 1) for item in placed)
    place = next(path for path in [directory, *directory.absolute().parents] if path.exists())
    free = shutil.disk_usage(place).free
    if needed > free:
        raise PipelineError(
            f"the images need {needed / 1e6:.0f} MB in {directory}, where {free / 1e6:.0f} MB "
            "are free: make room, or take fewer by data.limit_per_class"
        )


@contextmanager
def _replacing_directory(directory: Path) -> Iterator[Path]:
    """Yield a fresh directory beside `directory`; on success it takes its place."""
    partial = directory.with_name(f".partial-{directory.name}")
    former = directory.with_name(f".former-{directory.name}")
    if former.exists() and not directory.exists():
        former.rename(directory)  # a run was killed between the two renames below
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        # Two renames, so that a kill at any moment leaves one of the two whole.
        if directory.exists():
            shutil.rmtree(former, ignore_errors=True)
            directory.rename(former)
        partial.rename(directory)
        shutil.rmtree(former, ignore_errors=True)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
