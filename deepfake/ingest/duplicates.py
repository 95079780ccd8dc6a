"""Identical files in a source: those under both labels are refused, others stay in one split."""

import hashlib
from collections import defaultdict

import numpy as np
from numpy.typing import NDArray

from deepfake.common.environment import cores
from deepfake.common.progress import shown
from deepfake.common.threads import ordered
from deepfake.sources.base import Entry, Rejected, Source, Unreadable

# The most important split comes first: of identical images in several splits, the copy in the
# most important one is kept, so that test results stay comparable with published ones.
SPLITS_BY_IMPORTANCE = ("test", "valid", "train")
BOTH_LABELS = "same image under both labels"
# How many paths a message names as examples.
EXAMPLES = 5
# Threads wait for the disk or the download, so there are more of them than processors.
THREADS_PER_CORE = 2
_MASK_64_BITS = (1 << 64) - 1


def without_both_labels(
    source: Source, entries: list[Entry]
) -> tuple[list[Entry], list[Rejected], list[list[Entry]]]:
    """Refuse images that are there under both labels, byte for byte.

    Returns:
        The others; those refused, sorted by path; and the groups of identical files among the
        others.
    """
    groups = identical(source, entries)
    both = {entry.path for group in groups if len(_labels(group)) > 1 for entry in group}
    kept = [entry for entry in entries if entry.path not in both]
    refused = [Rejected(path, BOTH_LABELS) for path in sorted(both)]
    return kept, refused, [group for group in groups if len(_labels(group)) == 1]


def identical(source: Source, entries: list[Entry]) -> list[list[Entry]]:
    """Find groups of two or more files with the same bytes, each group sorted by path.

    Only files for which the source states the same size and checksum are read.
    """
    stated = (source.stated(entry) for entry in entries)
    keys = ((size << 32 | checksum) & _MASK_64_BITS if size else 0 for size, checksum in stated)
    numbers = np.fromiter(keys, np.uint64, len(entries))
    # All empty files are identical; they are rejected later, as empty.
    alike = repeated(numbers) & (numbers > 0)
    suspects = [entries[index] for index in np.flatnonzero(alike)]
    if not suspects:
        return []

    def digest(entry: Entry) -> tuple[Entry, bytes | None]:
        try:
            return entry, hashlib.sha256(source.read(entry)).digest()
        except Unreadable:
            return entry, None

    same: dict[bytes, list[Entry]] = defaultdict(list)
    hashed = ordered(
        digest, suspects, THREADS_PER_CORE * cores(), size=lambda entry: source.stated(entry)[0]
    )
    for entry, key in shown(hashed, len(suspects), "duplicates", "files"):
        if key is not None:
            same[key].append(entry)
    return [
        sorted(group, key=lambda entry: entry.path) for group in same.values() if len(group) > 1
    ]


def _labels(group: list[Entry]) -> set[int]:
    return {entry.label for entry in group}


def copies_to_drop(groups: list[list[Entry]], splits: dict[str, str]) -> dict[str, str]:
    """Path and split of each copy of an image that a more important split has too.

    Args:
        groups: identical files.
        splits: the split of each file, by its path.
    """
    dropped: dict[str, str] = {}
    for group in groups:
        found = {entry.path: splits[entry.path] for entry in group}
        keep = next(split for split in SPLITS_BY_IMPORTANCE if split in found.values())
        dropped |= {path: split for path, split in found.items() if split != keep}
    return dropped


def copy_warnings(dropped: dict[str, str]) -> list[str]:
    if not dropped:
        return []
    first = ", ".join(sorted(dropped)[:EXAMPLES])
    return [
        f"{len(dropped)} images are in a more important split as well, byte for byte (test comes "
        f"before valid, valid before train), and were left out of the less important one: {first}"
    ]


def repeated(numbers: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Mark the numbers that occur more than once: bool, the shape of `numbers`."""
    increasing = np.sort(numbers)
    twice = increasing[1:][increasing[1:] == increasing[:-1]]
    return np.isin(numbers, twice)
