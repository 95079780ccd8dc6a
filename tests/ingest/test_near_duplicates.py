"""Perceptual hashes, and the search for near ones."""

import io
import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

from deepfake.ingest import near_duplicates
from deepfake.ingest.near_duplicates import BANDS, HASH_BYTES, _bands, nearest, perceptual_hash
from deepfake.sources.portraits.render import render

EXPECTED = "0569403c05691abe1569a93c11ebaf3c126baaf4ffe8554effb855521297aa82"


def portrait(number: int) -> Image.Image:
    data = render(label=0, seed=3, index=number, size=192, strength=1.0)
    return Image.open(io.BytesIO(data)).convert("RGB")


def look(image: Image.Image) -> NDArray[np.uint8]:
    return perceptual_hash(np.array(image.convert("RGB")))


def distance(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> int:
    return int(np.bitwise_count(one ^ other).sum())


def compressed(image: Image.Image) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=40)
    return Image.open(file)


@pytest.mark.parametrize(
    "change",
    [
        compressed,
        lambda image: image.resize((96, 96), Image.Resampling.LANCZOS),
        lambda image: image.resize((400, 390), Image.Resampling.BICUBIC),
        lambda image: ImageEnhance.Contrast(image).enhance(0.9),
    ],
)
def test_an_image_changed_a_little_stays_near(
    change: Callable[[Image.Image], Image.Image],
) -> None:
    for number in range(5):
        image = portrait(number)
        assert distance(look(image), look(change(image))) <= 12


def test_different_images_are_far_apart() -> None:
    looks = [look(portrait(number)) for number in range(12)]
    far = [distance(one, other) for i, one in enumerate(looks) for other in looks[:i]]
    assert min(far) > 15


def test_the_hash_is_made_of_integers_and_so_fixed() -> None:
    ramp = np.indices((64, 64)).sum(axis=0)
    pixels = np.stack([ramp * 2, 255 - ramp, (ramp * ramp) % 251], axis=-1).astype(np.uint8)
    assert perceptual_hash(pixels).tobytes().hex() == EXPECTED
    assert perceptual_hash(pixels).shape == (HASH_BYTES,)


def test_an_image_of_one_colour_or_one_pixel_has_a_hash() -> None:
    flat = perceptual_hash(np.full((1, 1, 3), 90, dtype=np.uint8))
    assert np.array_equal(flat, perceptual_hash(np.full((300, 200, 3), 17, dtype=np.uint8)))


def changed(hash: NDArray[np.uint8], bits: NDArray[np.int64]) -> NDArray[np.uint8]:
    unpacked = np.unpackbits(hash)
    unpacked[bits] ^= 1
    return np.packbits(unpacked)


@pytest.mark.parametrize("sought", [150, 10_000])
@pytest.mark.parametrize("max_distance", [0, 5, 12, 15])
def test_nearest_is_what_comparing_all_pairs_finds(
    max_distance: int, sought: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(near_duplicates, "_SOUGHT", sought)
    rng = np.random.default_rng(max_distance)
    others = rng.integers(0, 256, (300, HASH_BYTES), dtype=np.uint8)
    others[50:60] = others[7]
    hashes = rng.integers(0, 256, (400, HASH_BYTES), dtype=np.uint8)
    for i in range(200):
        bits = rng.choice(256, i % 22, replace=False)
        hashes[i] = changed(others[int(rng.integers(0, 300))], bits)
    all_pairs = np.bitwise_count(hashes[:, None] ^ others).sum(axis=2)
    expected = [
        (i, int(row.argmin()), int(row.min()))
        for i, row in enumerate(all_pairs)
        if row.min() <= max_distance
    ]
    assert len(expected) > 5
    assert nearest(hashes, others, max_distance) == expected


def test_the_farthest_that_is_allowed_may_lie_in_any_bits() -> None:
    # One bit of each band but one: the worst case for the search.
    places = np.unpackbits(_bands(np.zeros((1, HASH_BYTES), np.uint8)).view(np.uint8))
    assert places.size == 256
    other = np.random.default_rng(0).integers(0, 256, (1, HASH_BYTES), dtype=np.uint8)
    order = np.random.default_rng(0).permutation(256).reshape(BANDS, -1)
    bits = np.array([band[0] for band in order[:15]])
    assert nearest(changed(other[0], bits)[None], other, 15) == [(0, 0, 15)]
    assert nearest(changed(other[0], bits)[None], other, 14) == []


def test_nothing_to_compare_with() -> None:
    none = np.zeros((0, HASH_BYTES), dtype=np.uint8)
    some = np.zeros((2, HASH_BYTES), dtype=np.uint8)
    assert nearest(none, some, 3) == nearest(some, none, 3) == []
    with pytest.raises(ValueError, match="Received: 16"):
        nearest(some, some, 16)


def test_memory_stays_bounded_where_all_images_are_alike() -> None:
    rng = np.random.default_rng(5)
    # Equal in all bands but one: each pair is a candidate, 2.6 million of them in each band.
    hashes = np.zeros((3200, HASH_BYTES), dtype=np.uint8)
    hashes[:, 0], hashes[:, 1] = np.divmod(rng.permutation(3200), 256)
    tracemalloc.start()
    found = nearest(hashes[:1600], hashes[1600:], 1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 200e6
    assert all(distance(hashes[i], hashes[1600 + j]) == d for i, j, d in found)
