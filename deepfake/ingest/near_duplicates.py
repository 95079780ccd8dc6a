"""Find images that look the same although their bytes differ: resized, recompressed, retouched.

An image's perceptual hash has 256 bits; the distance of two images is the number of bits in which
their hashes differ. Among 3,289 photographs and generated faces, any two different images were more
than 27 bits apart, while copies at half the size, or at JPEG quality 30, were within 12 bits.
"""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deepfake.common.labels import LABEL_NAMES, SPLITS
from deepfake.ingest.duplicates import SPLITS_BY_IMPORTANCE
from deepfake.ingest.planning import split_of
from deepfake.sources.base import Entry

HASH_BYTES = 32
# Two hashes that differ in fewer bits than there are bands agree in at least one band.
BANDS = 16
# These bound memory: how many pairs are compared at a time (about 100 bytes each), how many hashes
# are unpacked to single bits at a time, and for how many hashes neighbours are sought at a time.
_PAIRS = 1 << 14
_UNPACKED = 4096
_SOUGHT = 1 << 14
_NONE = np.iinfo(np.int64).max
_SIDE, _FREQUENCIES = 64, 16


def perceptual_hash(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Compute the pHash of an image (https://phash.org; Zauner 2010), with 256 bits instead of 64.

    The image is reduced to 64 x 64 grey values and transformed by a discrete cosine transform. A
    bit says whether one of the 16 x 16 lowest frequencies is above their median. All arithmetic is
    on whole numbers, which float64 holds exactly, so the hash is the same on any machine.

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
    """The transform's rows without the constant one, as whole numbers, shape (16, 64)."""
    rows = np.arange(1, _FREQUENCIES + 1)[:, np.newaxis]
    positions = 2 * np.arange(_SIDE) + 1
    return np.round(1024 * np.cos(np.pi * rows * positions / (2 * _SIDE)))


def hashes_file(directory: Path | str, split: str) -> Path:
    """The file with the hashes of a split, next to its shards: uint8, shape (n, 32)."""
    return Path(directory) / f"{split}-hashes.npy"


def nearest(
    hashes: NDArray[np.uint8], others: NDArray[np.uint8], max_distance: int
) -> list[tuple[int, int, int]]:
    """Find the nearest of `others` to each hash that has one within `max_distance`.

    Only hashes that agree in one of 16 bands of 16 bits are compared; any two within 15 bits of
    each other do (Manku, Jain and Das Sarma 2007, doi:10.1145/1242572.1242592). Memory does not
    grow with the number of pairs.

    Args:
        hashes: uint8, shape (n, 32).
        others: uint8, shape (m, 32).
        max_distance: in bits, 0 to 15.

    Returns:
        For each hash that has a neighbour, in order: its index, the index of the nearest of
        `others` (the first of equally near ones), and their distance in bits.

    Raises:
        ValueError: `max_distance` is out of range.
    """
    if not 0 <= max_distance < BANDS:
        raise ValueError(f"max_distance is 0 to {BANDS - 1}. Received: {max_distance}")
    if not len(hashes) or not len(others):
        return []
    # Without this, many equal hashes (of blank images, say) would each pair with every other one.
    two, first = np.unique(others, axis=0, return_index=True)
    bands = _bands(two)
    found: list[tuple[int, int, int]] = []
    for start in range(0, len(hashes), _SOUGHT):
        one, which = np.unique(hashes[start : start + _SOUGHT], axis=0, return_inverse=True)
        best = np.full(len(one), _NONE)
        for i, j, distance in _near(one, two, bands, max_distance):
            np.minimum.at(best, i, distance * len(others) + first[j])
        best = best[which.ravel()]
        for index in np.flatnonzero(best < _NONE):
            bits, like = divmod(int(best[index]), len(others))
            found.append((start + int(index), like, bits))
    return found


def _near(
    one: NDArray[np.uint8], two: NDArray[np.uint8], bands: NDArray[np.uint16], max_distance: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]]:
    """Yield the indices i, j of pairs within `max_distance`, and their distances.

    A pair is yielded once for each band in which it agrees. `bands` are the bands of `two`.
    """
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

    Neighbouring frequencies change together, so a band takes its bits from all over the hash.
    """
    shuffled = np.random.default_rng(0).permutation(8 * HASH_BYTES)
    parts = [
        np.packbits(np.unpackbits(part, axis=1)[:, shuffled], axis=1)  # 512 bytes a hash
        for part in np.array_split(hashes, len(hashes) // _UNPACKED + 1)
    ]
    return np.ascontiguousarray(np.concatenate(parts)).view(np.uint16).T


def _equal(
    a: NDArray[np.uint16], b: NDArray[np.uint16]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield the indices i, j of all pairs with a[i] == b[j], about `_PAIRS` at a time."""
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


class HashesBySplit:
    """The perceptual hashes of the images written so far, by split, in the order of writing."""

    def __init__(self) -> None:
        self._entries: dict[str, list[Entry]] = {split: [] for split in SPLITS}
        self._hashes: dict[str, bytearray] = {split: bytearray() for split in SPLITS}

    def add(self, entry: Entry, hash: NDArray[np.uint8]) -> None:
        """Add the hash, uint8 of shape (32,), of an entry that has a split."""
        self._entries[split_of(entry)].append(entry)
        self._hashes[split_of(entry)] += hash.tobytes()

    def near_duplicates(self, max_distance: int) -> list[dict[str, Any]]:
        """Pair each image that looks like one of a more important split with the nearest of those.

        Args:
            max_distance: in bits, 0 to 15.

        Returns:
            For each pair: `split`, `path` and `label` of the image; `like_split`, `like_path` and
            `like_label` of the other image; and `distance` in bits. Pairs are ordered by split,
            the nearest first.
        """
        pairs: list[dict[str, Any]] = []
        for split in SPLITS:
            important = SPLITS_BY_IMPORTANCE[: SPLITS_BY_IMPORTANCE.index(split)]
            if not important:
                continue
            others = [entry for name in important for entry in self._entries[name]]
            theirs = np.concatenate([self.array(name) for name in important])
            found = nearest(self.array(split), theirs, max_distance)
            for i, j, distance in sorted(found, key=lambda item: (item[2], item[0])):
                entry, like = self._entries[split][i], others[j]
                pairs.append(
                    {
                        "split": split, "path": entry.path, "label": LABEL_NAMES[entry.label],
                        "like_split": like.split, "like_path": like.path,
                        "like_label": LABEL_NAMES[like.label], "distance": distance,
                    }
                )  # fmt: skip
        return pairs

    def write(self, directory: Path | str, without: set[str]) -> None:
        """Write the hashes of each split to its `hashes_file`, except of the paths `without`."""
        for split, entries in self._entries.items():
            kept = [entry.path not in without for entry in entries]
            np.save(hashes_file(directory, split), self.array(split)[kept])

    def array(self, split: str) -> NDArray[np.uint8]:
        """The hashes of a split, uint8 of shape (n, 32)."""
        return np.frombuffer(self._hashes[split], dtype=np.uint8).reshape(-1, HASH_BYTES)
