"""From a source to the shards: which pictures are used, in which split and order, and why not."""

import hashlib
import heapq
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepfake import FAKE, LABEL_NAMES, REAL, SPLITS, dataset, images
from deepfake.dataset import Picture, ShardWriter, ordered
from deepfake.errors import PipelineError
from deepfake.files import write_json
from deepfake.near_duplicates import HASH_BYTES, nearest, perceptual_hash
from deepfake.params import DataParams
from deepfake.progress import shown
from deepfake.runtime import cores
from deepfake.sources.base import Entry, Rejected, Source, Unreadable

REPORT = "report.json"
BOTH_LABELS = "same picture under both labels"
# Of duplicates in several splits the copy here stays: published test results stay comparable.
SPLITS_TO_KEEP = ("test", "valid", "train")
LISTED = 1000
SHOWN = 5
_LABELS = {name: label for label, name in LABEL_NAMES.items()}
_64_BITS = (1 << 64) - 1
_NO_LOOK: NDArray[np.uint8] = np.zeros(0, dtype=np.uint8)
# Reading waits for the disk or for other processes, so threads exceed processors; many more than
# those would wait for each other.
THREADS_A_CORE = 2
# In a split with fewer pictures of one class than this share of the other's, scores that do not
# weigh the classes say little.
IMBALANCE = 0.1


@dataclass(slots=True)
class Plan:
    """What is to be written and what is not, before the pictures themselves are looked at.

    Each entry that is `placed` has a split.
    """

    placed: list[Entry]
    rejected: list[Rejected]
    duplicates: dict[str, Any]
    left_out: dict[str, int] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


Result = tuple[Entry, Picture | Rejected, NDArray[np.uint8]]


class Looks:
    """How the pictures written so far look: their perceptual hashes, by split, in order."""

    def __init__(self) -> None:
        self._items: dict[str, list[Entry]] = {split: [] for split in SPLITS}
        self._hashes: dict[str, bytearray] = {split: bytearray() for split in SPLITS}

    def add(self, entry: Entry, look: NDArray[np.uint8]) -> None:
        self._items[split_of(entry)].append(entry)
        self._hashes[split_of(entry)] += look.tobytes()

    def near_duplicates(self, max_distance: int) -> list[dict[str, Any]]:
        """Pictures that look like one of a more important split, each with the nearest of those.

        Returns:
            `split`, `path` and `label` of the picture, the same of the other (`like_...`), and
            `distance` in bits; by split, the nearest first.
        """
        pairs: list[dict[str, Any]] = []
        for split in SPLITS:
            important = SPLITS_TO_KEEP[: SPLITS_TO_KEEP.index(split)]
            others = [entry for name in important for entry in self._items[name]]
            theirs = np.concatenate([self._array(name) for name in important or [split]])
            found = nearest(self._array(split), theirs, max_distance) if important else []
            for i, j, distance in sorted(found, key=lambda item: (item[2], item[0])):
                entry, like = self._items[split][i], others[j]
                pairs.append(
                    {
                        "split": split, "path": entry.path, "label": LABEL_NAMES[entry.label],
                        "like_split": like.split, "like_path": like.path,
                        "like_label": LABEL_NAMES[like.label], "distance": distance,
                    }
                )  # fmt: skip
        return pairs

    def _array(self, split: str) -> NDArray[np.uint8]:
        return np.frombuffer(self._hashes[split], dtype=np.uint8).reshape(-1, HASH_BYTES)


def ingest(source: Source, params: DataParams, seed: int, directory: Path | str) -> dict[str, Any]:
    """Check every picture of a source and pack the good ones into shards in `directory`.

    What `directory` held is replaced as a whole, and only once everything is written.

    Returns:
        The report, as written to `report.json` beside the shards.

    Raises:
        PipelineError: the pictures cannot be used as asked; `directory` is as it was.
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
            for entry, result, look in shown(results, len(plan.placed), "ingest", "pictures"):
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
        _check_classes(written, "after unusable pictures were taken out")
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


def split_of(entry: Entry) -> str:
    """The split of an entry that is placed."""
    assert entry.split is not None
    return entry.split


def make_plan(source: Source, params: DataParams, seed: int) -> Plan:
    """Choose pictures and splits, without opening a picture.

    In this order: `data.limit_per_class`, duplicates, splits where the source has none.

    Raises:
        PipelineError: a class is empty in some split.
    """
    offer = source.offer()
    entries = limited(offer.entries, params.limit_per_class, seed)
    left_out = dict(offer.left_out)
    if len(entries) < len(offer.entries):
        left_out["over data.limit_per_class"] = len(offer.entries) - len(entries)
    groups = identical(source, entries)
    both = [entry for group in groups if len(_labels(group)) > 1 for entry in group]
    refused = {entry.path for entry in both}
    kept = [entry for entry in entries if entry.path not in refused]
    groups = [group for group in groups if len(_labels(group)) == 1]
    if any(entry.split is None for entry in kept):
        fractions = (params.folder.valid_fraction, params.folder.test_fraction)
        placed = assign_splits(kept, groups, fractions, seed)
        dropped: dict[str, str] = {}
    else:
        dropped = _copies_to_drop(groups)
        placed = [entry for entry in kept if entry.path not in dropped]
    _check_classes(Counter((split_of(item), item.label) for item in placed), "in the source")
    duplicates = {
        "groups": len(groups),
        "files": sum(len(group) for group in groups),
        "dropped": {split: list(dropped.values()).count(split) for split in SPLITS},
        "under_both_labels": len(both),
    }
    rejected = [*offer.rejected, *(Rejected(path, BOTH_LABELS) for path in sorted(refused))]
    warnings = [*offer.warnings, *_copy_warnings(dropped)]
    return Plan(in_writing_order(placed), rejected, duplicates, left_out, warnings)


def limited(entries: list[Entry], limit: int | None, seed: int) -> list[Entry]:
    """At most `limit` entries of each class, shared among the splits in proportion to their sizes.

    The choice follows from seed and paths, not from the order of the entries; that stays.
    """
    if limit is None:
        return entries
    parts: dict[tuple[int, str], list[Entry]] = defaultdict(list)
    for entry in entries:
        parts[entry.label, entry.split or ""].append(entry)
    chosen: set[str] = set()
    for label in (REAL, FAKE):
        splits = sorted(split for part_label, split in parts if part_label == label)
        sizes = [len(parts[label, split]) for split in splits]
        for split, share in zip(splits, shares(limit, sizes), strict=True):
            drawn = sorted(parts[label, split], key=lambda entry: _draw(seed, "limit", entry.path))
            chosen.update(entry.path for entry in drawn[:share])
    return [entry for entry in entries if entry.path in chosen]


def shares(total: int, sizes: list[int]) -> list[int]:
    """`total` shared in proportion to `sizes` by largest remainder, none above its size.

    Each size gets at least one where there is enough for all.
    """
    if total >= sum(sizes):
        return list(sizes)
    floors = [total * size // sum(sizes) for size in sizes]
    remainders = [total * size % sum(sizes) for size in sizes]
    order = sorted(range(len(sizes)), key=lambda i: (-remainders[i], i))
    for i in order[: total - sum(floors)]:
        floors[i] += 1
    while total >= len(sizes) and 0 in floors:
        floors[floors.index(max(floors))] -= 1
        floors[floors.index(0)] += 1
    return floors


def identical(source: Source, entries: list[Entry]) -> list[list[Entry]]:
    """Groups of two or more files with the same bytes, each sorted by path.

    Only files of which the source states the same are read for this.
    """
    stated = (source.stated(entry) for entry in entries)
    keys = ((size << 32 | checksum) & _64_BITS if size else 0 for size, checksum in stated)
    numbers = np.fromiter(keys, np.uint64, len(entries))
    # Empty files are all alike, and are rejected as such later.
    alike = _repeated(numbers) & (numbers > 0)
    suspects = [entries[place] for place in np.flatnonzero(alike)]

    def digest(entry: Entry) -> tuple[Entry, bytes | None]:
        try:
            return entry, hashlib.sha256(source.read(entry)).digest()
        except Unreadable:
            return entry, None

    same: dict[bytes, list[Entry]] = defaultdict(list)
    if not suspects:
        return []
    hashed = ordered(digest, suspects, THREADS_A_CORE * cores())
    for entry, key in shown(hashed, len(suspects), "duplicates", "files"):
        if key is not None:
            same[key].append(entry)
    return [
        sorted(group, key=lambda entry: entry.path) for group in same.values() if len(group) > 1
    ]


def assign_splits(
    entries: list[Entry], groups: list[list[Entry]], fractions: tuple[float, float], seed: int
) -> list[Entry]:
    """Draw a stratified split: the same fractions of each class, identical files together.

    Args:
        groups: of identical files.
        fractions: of valid and of test, 0 to 1; the rest is train.
    """
    leader = {entry.path: group[0].path for group in groups for entry in group}
    placed: list[Entry] = []
    for label in (REAL, FAKE):
        bundles: dict[str, list[Entry]] = defaultdict(list)
        for entry in entries:
            if entry.label == label:
                bundles[leader.get(entry.path, entry.path)].append(entry)
        total = sum(len(bundle) for bundle in bundles.values())
        valid, test = (round(fraction * total) for fraction in fractions)
        done = 0
        for key in sorted(bundles, key=lambda path: _draw(seed, "split", path)):
            split = "test" if done < test else "valid" if done < test + valid else "train"
            placed.extend(replace(entry, split=split) for entry in bundles[key])
            done += len(bundles[key])
    return placed


def in_writing_order(placed: Iterable[Entry]) -> list[Entry]:
    """Split by split, both classes interleaved in proportion to their numbers, each in path order.

    So any slice of a split holds both classes, and reading the source stays nearly sequential.
    """
    parts: dict[tuple[str, int], list[Entry]] = defaultdict(list)
    for item in placed:
        parts[split_of(item), item.label].append(item)
    for part in parts.values():
        part.sort(key=lambda item: item.path)
    return [
        item
        for split in SPLITS
        for _, _, item in heapq.merge(
            *(_at_even_distances(parts[split, label], label) for label in LABEL_NAMES),
            key=lambda place: place[:2],
        )
    ]


def _at_even_distances(part: list[Entry], label: int) -> Iterator[tuple[float, int, Entry]]:
    return (((i + 0.5) / len(part), label, item) for i, item in enumerate(part))


def image_id(path: str) -> str:
    """16 hexadecimal digits that name a picture by its path in the source.

    Stable, and of no use for telling the label.
    """
    return hashlib.sha256(path.encode("utf-8")).hexdigest()[:16]


def read_all(source: Source, placed: list[Entry]) -> Iterator[Result]:
    """Each picture in order, read and decoded once to see that it can be, with its look: its
    perceptual hash, of no bytes for one that is rejected."""
    _check_ids([item.path for item in placed])

    def read(entry: Entry) -> Result:
        try:
            data = source.read(entry)
            look = perceptual_hash(images.decode(data))
        except (Unreadable, images.BadImage) as error:
            return entry, Rejected(entry.path, error.reason), _NO_LOOK
        split, name = split_of(entry), image_id(entry.path)
        return entry, Picture(name, entry.label, split, entry.path, data), look

    return ordered(read, placed, THREADS_A_CORE * cores())


def _check_ids(paths: list[str]) -> None:
    """Raises PipelineError if two paths have the same `image_id`."""
    repeated = _repeated(np.fromiter((int(image_id(p), 16) for p in paths), np.uint64, len(paths)))
    if repeated.any():
        path = paths[int(repeated.argmax())]
        raise PipelineError(
            f"two pictures have the image_id {image_id(path)}, one of them {path}: rename that file"
        )


def _repeated(numbers: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Which of the numbers are there more than once."""
    ordered_numbers = np.sort(numbers)
    twice = ordered_numbers[1:][ordered_numbers[1:] == ordered_numbers[:-1]]
    return np.isin(numbers, twice)


def _near_duplicates(
    looks: Looks, params: DataParams, partial: Path, written: Counter[tuple[str, int]]
) -> dict[str, Any]:
    """Report pictures that look like one of a more important split; take those of train out of its
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
    """Write a split's shards anew, as if the pictures at some paths had never been there."""
    anew = directory / ".partial-anew"
    with ShardWriter(anew, megabytes) as shards:
        for picture in dataset.pictures(directory, split):
            if picture.path not in paths:
                shards.write(picture)
    for path in dataset.shards(directory, split):
        path.unlink()
    for path in anew.iterdir():
        path.rename(directory / path.name)
    anew.rmdir()


def _copy_warnings(dropped: dict[str, str]) -> list[str]:
    if not dropped:
        return []
    first = ", ".join(sorted(dropped)[:SHOWN])
    return [
        f"{len(dropped)} pictures are in a more important split as well, byte for byte (test comes "
        f"before valid, valid before train), and were left out of the lesser: {first}"
    ]


def _near_warnings(near: dict[str, Any]) -> list[str]:
    if not near["train"] + near["valid"]:
        return []
    first = "; ".join(
        f"{pair['path']} like {pair['like_path']} (distance {pair['distance']})"
        for pair in near["pairs"][:SHOWN]
    )
    advice = (
        f"{near['dropped']} of them were dropped from train"
        if near["dropped"]
        else "data.near_duplicates.drop_from_train takes those of train out"
    )
    other = f", {near['other_label']} of them with the other label" if near["other_label"] else ""
    return [
        f"{near['train']} pictures of train and {near['valid']} of valid look like one of a more "
        f"important split{other}: {first}. {advice[0].upper() + advice[1:]}"
    ]


def _imbalances(counts: Counter[tuple[str, int]]) -> list[str]:
    return [
        f"{split} has {counts[split, REAL]} real and {counts[split, FAKE]} fake pictures: one "
        "class is more than ten times the other. Look at average precision rather than accuracy; "
        "train.class_weight and baseline.class_weight can be balanced"
        for split in SPLITS
        if min(counts[split, REAL], counts[split, FAKE])
        < IMBALANCE * max(counts[split, REAL], counts[split, FAKE])
    ]


def _labels(group: list[Entry]) -> set[int]:
    return {entry.label for entry in group}


def _copies_to_drop(groups: list[list[Entry]]) -> dict[str, str]:
    """Path and split of the copies whose picture is in a more important split as well."""
    dropped: dict[str, str] = {}
    for group in groups:
        keep = next(split for split in SPLITS_TO_KEEP if any(e.split == split for e in group))
        dropped |= {
            entry.path: entry.split
            for entry in group
            if entry.split is not None and entry.split != keep
        }
    return dropped


def _draw(seed: int, purpose: str, path: str) -> bytes:
    """A number for a path that looks random: sorting by it shuffles, the same on any machine."""
    return hashlib.sha256(f"{seed}/{purpose}/{path}".encode()).digest()


def _check_classes(counts: Counter[tuple[str, int]], when: str) -> None:
    empty = [
        f"no {LABEL_NAMES[label]} pictures in {split}"
        for split in SPLITS
        for label in LABEL_NAMES
        if not counts[split, label]
    ]
    if not empty:
        return
    shown = ", ".join(
        f"{split} {counts[split, REAL]} real and {counts[split, FAKE]} fake" for split in SPLITS
    )
    raise PipelineError(
        f"{when}: {'; '.join(empty)} (found: {shown}). All three splits need both classes. "
        "Add or rename folders; with no split folders at all the splits are drawn, by "
        "data.folder.valid_fraction and data.folder.test_fraction. A data.limit_per_class that is "
        "too small empties them, too."
    )


def _check_bad(rejected: list[Rejected], checked: int, limit: float) -> None:
    if len(rejected) <= limit * checked:
        return
    reasons = Counter(item.reason for item in rejected)
    listed = "; ".join(f"{reason}: {number}" for reason, number in sorted(reasons.items()))
    first = "\n  ".join(f"{item.path}: {item.reason}" for item in rejected[:SHOWN])
    raise PipelineError(
        f"{len(rejected)} of {checked} pictures cannot be used, a fraction of "
        f"{len(rejected) / checked:.4g}; data.max_bad_fraction allows {limit:g}. "
        f"Reasons: {listed}. The first:\n  {first}\n"
        "Mend or remove them, or raise data.max_bad_fraction."
    )


def _bad_report(rejected: list[Rejected], checked: int) -> dict[str, Any]:
    reasons = Counter(item.reason for item in rejected)
    return {
        "count": len(rejected),
        "fraction": len(rejected) / checked,
        "reasons": dict(sorted(reasons.items())),
        "files": [{"path": item.path, "reason": item.reason} for item in rejected[:LISTED]],
    }


def _by_split_and_class(counts: Counter[tuple[str, int]]) -> dict[str, dict[str, int]]:
    return {
        split: {name: counts[split, label] for label, name in LABEL_NAMES.items()}
        for split in SPLITS
    }


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
            f"the pictures need {needed / 1e6:.0f} MB in {directory}, where {free / 1e6:.0f} MB "
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
