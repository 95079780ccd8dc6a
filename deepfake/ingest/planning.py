"""TODO of ingest.planning."""

import hashlib
import heapq
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepfake.common.environment import cores
from deepfake.common.errors import PipelineError
from deepfake.common.labels import FAKE, LABEL_NAMES, REAL, SPLITS
from deepfake.common.progress import shown
from deepfake.common.threads import ordered
from deepfake.params import DataParams
from deepfake.sources.base import Entry, Rejected, Source, Unreadable

BOTH_LABELS = "same image under both labels"
# Of duplicates in several splits the copy here stays: published test results stay comparable.
_64_BITS = (1 << 64) - 1
SPLITS_TO_KEEP = ("test", "valid", "train")
SHOWN = 5
# Reading waits for the disk or for other processes, so threads exceed processors; many more than
# those would wait for each other.
THREADS_A_CORE = 2


@dataclass(slots=True)
class Plan:
    """What is to be written and what is not, before the images themselves are looked at.

    Each entry that is `placed` has a split.
    """

    placed: list[Entry]
    rejected: list[Rejected]
    duplicates: dict[str, Any]
    left_out: dict[str, int] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def split_of(entry: Entry) -> str:
    """The split of an entry that is placed."""
    assert entry.split is not None
    return entry.split


def make_plan(source: Source, params: DataParams, seed: int) -> Plan:
    """Choose images and splits, without opening an image.

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
    """16 hexadecimal digits that name an image by its path in the source.

    Stable, and of no use for telling the label.
    """
    return hashlib.sha256(path.encode("utf-8")).hexdigest()[:16]


def _check_ids(paths: list[str]) -> None:
    """Raises PipelineError if two paths have the same `image_id`."""
    repeated = _repeated(np.fromiter((int(image_id(p), 16) for p in paths), np.uint64, len(paths)))
    if repeated.any():
        path = paths[int(repeated.argmax())]
        raise PipelineError(
            f"two images have the image_id {image_id(path)}, one of them {path}: rename that file"
        )


def _repeated(numbers: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Which of the numbers are there more than once."""
    ordered_numbers = np.sort(numbers)
    twice = ordered_numbers[1:][ordered_numbers[1:] == ordered_numbers[:-1]]
    return np.isin(numbers, twice)


def _copy_warnings(dropped: dict[str, str]) -> list[str]:
    if not dropped:
        return []
    first = ", ".join(sorted(dropped)[:SHOWN])
    return [
        f"{len(dropped)} images are in a more important split as well, byte for byte (test comes "
        f"before valid, valid before train), and were left out of the lesser: {first}"
    ]


def _labels(group: list[Entry]) -> set[int]:
    return {entry.label for entry in group}


def _copies_to_drop(groups: list[list[Entry]]) -> dict[str, str]:
    """Path and split of the copies whose image is in a more important split as well."""
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
        f"no {LABEL_NAMES[label]} images in {split}"
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
