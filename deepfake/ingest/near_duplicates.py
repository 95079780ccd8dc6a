"""Images that look the same although their bytes differ: resized, compressed again, edited a bit.

An image's perceptual hash is 256 bits; the distance of two images is the number of bits in which
theirs differ. Among 3,289 photographs and generated faces no two different ones were within 27 bits
of each other, while copies at half the size, or at JPEG quality 30, were within 12.
"""

from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deepfake.common.labels import LABEL_NAMES, SPLITS
from deepfake.ingest.planning import SPLITS_TO_KEEP, split_of
from deepfake.sources.base import Entry

HASH_BYTES = 32
# Two hashes that differ in fewer bits than there are bands agree in one band at least.
BANDS = 16
# Pairs compared at a time, about 100 bytes each.
_PAIRS = 1 << 14
# Hashes whose bits are spread out at a time.
_PART = 4096
# Hashes that are looked for at a time.
_SOUGHT = 1 << 14
_NONE = np.iinfo(np.int64).max
_SIDE, _FREQUENCIES = 64, 16


def perceptual_hash(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The pHash of an image (https://phash.org; Zauner 2010), 256 bits instead of 64.

    The signs of the 16 x 16 lowest frequencies of the image's discrete cosine transform, against
    their median, of its grey values at 64 x 64. In whole numbers throughout, which float64 holds
    and adds exactly: the same on any machine.

    Args:
        pixels: uint8 RGB, shape (height, width, 3).

    Returns:
        uint8, shape (32,).
    """
    grey = Image.fromarray(pixels).convert("L").resize((_SIDE, _SIDE), Image.Resampling.BICUBIC)
    cosines = _cosines()
    frequencies = cosines @ np.asarray(grey, dtype=np.float64) @ cosines.T
    return np.packbits(frequencies > np.median(frequencies))


@cache
def _cosines() -> NDArray[np.float64]:
    """Rows of the transform, without the constant one, in whole numbers, shape (16, 64)."""
    rows = np.arange(1, _FREQUENCIES + 1)[:, np.newaxis]
    places = 2 * np.arange(_SIDE) + 1
    return np.round(1024 * np.cos(np.pi * rows * places / (2 * _SIDE)))


def nearest(
    hashes: NDArray[np.uint8], others: NDArray[np.uint8], max_distance: int
) -> list[tuple[int, int, int]]:
    """The nearest of `others` to each hash that has one within `max_distance`.

    Hashes are compared only where they agree in one of 16 bands of 16 bits, which any two within 15
    bits of each other do (Manku, Jain and Das Sarma 2007, doi:10.1145/1242572.1242592). Memory does
    not grow with the number of pairs.

    Args:
        hashes, others: uint8, shape (n, 32) and (m, 32).
        max_distance: bits, 0 to 15.

    Returns:
        Index of the hash, index of the nearest of others (the first of equally near ones) and the
        distance, for those that have one, in order.
    """
    if not 0 <= max_distance < BANDS:
        raise ValueError(f"max_distance is 0 to {BANDS - 1}. Received: {max_distance}")
    if not len(hashes) or not len(others):
        return []
    # Many equal hashes (of empty images, say) would make a pair with each other one.
    two, first = np.unique(others, axis=0, return_index=True)
    bands = _bands(two)
    found: list[tuple[int, int, int]] = []
    for start in range(0, len(hashes), _SOUGHT):
        one, which = np.unique(hashes[start : start + _SOUGHT], axis=0, return_inverse=True)
        best = np.full(len(one), _NONE)
        for i, j, distance in _near(one, two, bands, max_distance):
            np.minimum.at(best, i, distance * len(others) + first[j])
        best = best[which.ravel()]
        for place in np.flatnonzero(best < _NONE):
            bits, like = divmod(int(best[place]), len(others))
            found.append((start + int(place), like, bits))
    return found


def _near(
    one: NDArray[np.uint8], two: NDArray[np.uint8], bands: NDArray[np.uint16], max_distance: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]]:
    """Indices of all pairs within a distance, with it; `bands` are those of `two`. A pair comes
    once for each band in which it agrees."""
    a, b = _words(one), _words(two)
    for bands_a, bands_b in zip(_bands(one), bands, strict=True):
        for i, j in _equal(bands_a, bands_b):
            distance = np.bitwise_count(a[i] ^ b[j]).sum(axis=1, dtype=np.int64)
            near = distance <= max_distance
            yield i[near], j[near], distance[near]


def _words(hashes: NDArray[np.uint8]) -> NDArray[np.uint64]:
    return np.ascontiguousarray(hashes).view(np.uint64)


def _bands(hashes: NDArray[np.uint8]) -> NDArray[np.uint16]:
    """The bits of each band as a number, shape (16, n).

    Neighbouring frequencies go together, so a band takes its bits from all over the hash.
    """
    shuffled = np.random.default_rng(0).permutation(8 * HASH_BYTES)
    parts = [
        np.packbits(np.unpackbits(part, axis=1)[:, shuffled], axis=1)  # 512 bytes a hash
        for part in np.array_split(hashes, len(hashes) // _PART + 1)
    ]
    return np.ascontiguousarray(np.concatenate(parts)).view(np.uint16).T


def _equal(
    a: NDArray[np.uint16], b: NDArray[np.uint16]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Indices i, j of all pairs with a[i] == b[j], `_PAIRS` or so at a time."""
    order = np.argsort(b, kind="stable")
    start = np.searchsorted(b[order], a, side="left")
    number = np.searchsorted(b[order], a, side="right") - start
    total = np.cumsum(number)
    begin = 0
    while begin < len(a):
        done = total[begin - 1] if begin else 0
        end = max(begin + 1, int(np.searchsorted(total, done + _PAIRS, side="right")))
        counts = number[begin:end]
        i = np.repeat(np.arange(begin, end), counts)
        within = np.arange(len(i)) - np.repeat(np.cumsum(counts) - counts, counts)
        yield i, order[np.repeat(start[begin:end], counts) + within]
        begin = end


class Looks:
    """How the images written so far look: their perceptual hashes, by split, in order."""

    def __init__(self) -> None:
        self._items: dict[str, list[Entry]] = {split: [] for split in SPLITS}
        self._hashes: dict[str, bytearray] = {split: bytearray() for split in SPLITS}

    def add(self, entry: Entry, look: NDArray[np.uint8]) -> None:
        self._items[split_of(entry)].append(entry)
        self._hashes[split_of(entry)] += look.tobytes()

    def near_duplicates(self, max_distance: int) -> list[dict[str, Any]]:
        """Images that look like one of a more important split, each with the nearest of those.

        Returns:
            `split`, `path` and `label` of the image, the same of the other (`like_...`), and
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
