"""Which images of a source are used, and in which split and order; no image is opened for this.

`make_plan` applies, in this order: `data.limit_per_class`, exact duplicates, and a drawn split
where a source has none. Limit and drawn split are those of each source by itself; duplicates are
sought among all images. Everything here follows from the seed and the paths of the images, so the
same source gives the same plan on any machine.
"""

import hashlib
import heapq
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from deepfake.common.errors import PipelineError
from deepfake.common.labels import FAKE, LABEL_NAMES, REAL, SPLITS
from deepfake.ingest.duplicates import copies_to_drop, copy_warnings, repeated, without_both_labels
from deepfake.params import DataParams
from deepfake.sources.base import Entry, Offer, Rejected, Source


@dataclass(slots=True)
class Plan:
    """What will be written and what will not, decided before any image is opened.

    Attributes:
        placed: the images to write, in the order of writing; each has a split.
        rejected: the images that cannot be used.
        duplicates: counts of exact duplicates, as in the report: `groups`, `files`, `dropped` (by
            split) and `under_both_labels`.
        left_out: how many files were passed over, by reason; nothing is wrong with them.
        warnings: what the user should look at.
    """

    placed: list[Entry]
    rejected: list[Rejected]
    duplicates: dict[str, Any]
    left_out: dict[str, int] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def make_plan(source: Source, params: DataParams, seed: int) -> Plan:
    """Choose the images to use and their splits, without decoding an image.

    Raises:
        PipelineError: a class is empty in some split.
    """
    offer = source.offer()
    entries = _limited_by_source(offer.entries, params, seed)
    left_out = dict(offer.left_out)
    if len(entries) < len(offer.entries):
        left_out["over data.limit_per_class"] = len(offer.entries) - len(entries)
    kept, refused, groups = without_both_labels(source, entries)
    placed = _split_by_source(kept, groups, params, seed)
    splits = {entry.path: split_of(entry) for entry in placed}
    dropped = copies_to_drop(groups, splits)
    placed = [entry for entry in placed if entry.path not in dropped]
    check_classes(Counter((split_of(item), item.label) for item in placed), "in the source")
    duplicates = {
        "groups": len(groups),
        "files": sum(len(group) for group in groups),
        "dropped": {split: list(dropped.values()).count(split) for split in SPLITS},
        "under_both_labels": len(refused),
    }
    warnings = [*offer.warnings, *copy_warnings(dropped)]
    rejected = [*offer.rejected, *refused]
    return Plan(in_writing_order(placed), rejected, duplicates, left_out, warnings)


def check_offer(offer: Offer, params: DataParams, seed: int) -> None:
    """Check, without reading an image, that every split has images of both classes.

    Raises:
        PipelineError: a class is empty in some split. `make_plan`, which also finds duplicates, may
            still refuse what passes here.
    """
    entries = _limited_by_source(offer.entries, params, seed)
    placed = _split_by_source(entries, [], params, seed)
    check_classes(Counter((split_of(item), item.label) for item in placed), "in the source")


def split_of(entry: Entry) -> str:
    """The split of an entry that has one, as each entry of `Plan.placed` does."""
    assert entry.split is not None
    return entry.split


def image_id(path: str) -> str:
    """Name an image by its path in the source: 16 hexadecimal digits, the same in every run.

    The path itself often contains the label; its digest does not give the label away.
    """
    return hashlib.sha256(path.encode("utf-8")).hexdigest()[:16]


def check_ids(paths: list[str]) -> None:
    """Raise PipelineError if two paths have the same `image_id`."""
    twice = repeated(np.fromiter((int(image_id(p), 16) for p in paths), np.uint64, len(paths)))
    if twice.any():
        path = paths[int(twice.argmax())]
        raise PipelineError(
            f"two images have the image_id {image_id(path)}, one of them {path}: rename that file"
        )


def check_classes(counts: Counter[tuple[str, int]], when: str) -> None:
    """Raise PipelineError if a class has no images in some split.

    Args:
        counts: images by split and label.
        when: the start of the message, which says at what point the class is empty.
    """
    empty = [
        f"no {LABEL_NAMES[label]} images in {split}"
        for split in SPLITS
        for label in LABEL_NAMES
        if not counts[split, label]
    ]
    if not empty:
        return
    found = ", ".join(
        f"{split} {counts[split, REAL]} real and {counts[split, FAKE]} fake" for split in SPLITS
    )
    raise PipelineError(
        f"{when}: {'; '.join(empty)} (found: {found}). All three splits need both classes. "
        "Add or rename folders; with no split folders at all the splits are drawn, by "
        "data.folder.valid_fraction and data.folder.test_fraction. A data.limit_per_class that is "
        "too small also empties them."
    )


def limited(entries: list[Entry], limit: int | None, seed: int) -> list[Entry]:
    """Keep at most `limit` entries of each class, split by split in proportion to their sizes.

    The choice depends on the seed and the paths, not on the order of `entries`, which is kept.
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
    """Divide `total` in proportion to `sizes` by largest remainder, no share above its size.

    Each share is at least 1 where `total` is large enough for that.
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


def _by_source(entries: list[Entry]) -> list[list[Entry]]:
    """The entries of each source, in the order of `entries`."""
    parts: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        parts[entry.source].append(entry)
    return list(parts.values())


def _limited_by_source(entries: list[Entry], params: DataParams, seed: int) -> list[Entry]:
    return [
        entry
        for part in _by_source(entries)
        for entry in limited(part, params.limit_per_class, seed)
    ]


def _split_by_source(
    entries: list[Entry], groups: list[list[Entry]], params: DataParams, seed: int
) -> list[Entry]:
    fractions = (params.folder.valid_fraction, params.folder.test_fraction)
    return [
        entry
        for part in _by_source(entries)
        for entry in _with_splits(part, groups, fractions, seed)
    ]


def _with_splits(
    entries: list[Entry], groups: list[list[Entry]], fractions: tuple[float, float], seed: int
) -> list[Entry]:
    """The entries of one source with its own splits, or with drawn ones if it has none."""
    if any(entry.split is None for entry in entries):
        return assign_splits(entries, groups, fractions, seed)
    return entries


def assign_splits(
    entries: list[Entry], groups: list[list[Entry]], fractions: tuple[float, float], seed: int
) -> list[Entry]:
    """Draw a stratified split: the same fractions of each class.

    Args:
        entries: images without a split.
        groups: identical files; the files of a group get the same split.
        fractions: of `valid` and of `test`, 0 to 1; the rest is `train`.
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


def _draw(seed: int, purpose: str, path: str) -> bytes:
    """A sort key that shuffles paths: the same order for the same seed on any machine."""
    return hashlib.sha256(f"{seed}/{purpose}/{path}".encode()).digest()


def in_writing_order(placed: Iterable[Entry]) -> list[Entry]:
    """Order images split by split, with the two classes interleaved in proportion to their counts.

    Within a class, images are in path order. So any slice of a split holds both classes, and
    reading the source stays nearly sequential.
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
            *(_evenly_spaced(parts[split, label], label) for label in LABEL_NAMES),
            key=lambda item: item[:2],
        )
    ]


def _evenly_spaced(part: list[Entry], label: int) -> Iterator[tuple[float, int, Entry]]:
    """Each entry with a position between 0 and 1, at equal distances."""
    return (((i + 0.5) / len(part), label, item) for i, item in enumerate(part))
