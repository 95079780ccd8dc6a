"""Augmentation: each change does what its name says, and only what was asked for."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from deepfake.training.augmentation import JPEG_QUALITIES, Augmentation, _encoded_again, _moved

OFF = {
    "flip": False,
    "rotation": 0.0,
    "shear": 0.0,
    "zoom": 0.0,
    "shift": 0.0,
    "contrast": 0.0,
    "jpeg": 0.0,
}
EVERYTHING = {
    "flip": True, "rotation": 20.0, "shear": 5.0, "zoom": 0.2, "shift": 0.1, "contrast": 0.3,
    "jpeg": 1.0,
}  # fmt: skip


def augmentation(**changes: Any) -> Augmentation:
    return Augmentation(**(OFF | changes))


def noise(height: int = 32, width: int = 32) -> np.ndarray:
    return np.random.default_rng(7).integers(0, 256, (height, width, 3), dtype=np.uint8)


def smooth(size: int = 64) -> np.ndarray:
    """An image of mid greys without sharp edges."""
    y, x = np.mgrid[:size, :size] / size
    channels = (np.sin(4 * x), np.cos(3 * y), np.sin(2 * x + 3 * y))
    return np.stack([128 + 40 * channel for channel in channels], axis=-1).astype(np.uint8)


def dot(x: int, y: int, size: int = 65) -> np.ndarray:
    """A black image with a small white square about (x, y)."""
    pixels = np.zeros((size, size, 3), np.uint8)
    pixels[y - 1 : y + 2, x - 1 : x + 2] = 255
    return pixels


def centre(pixels: np.ndarray) -> tuple[float, float]:
    """The centre of brightness (x, y)."""
    weight = pixels[:, :, 0].astype(float)
    y, x = np.mgrid[: weight.shape[0], : weight.shape[1]]
    return float((weight * x).sum() / weight.sum()), float((weight * y).sum() / weight.sum())


def moved(pixels: np.ndarray, **changes: Any) -> np.ndarray:
    return _moved(
        pixels, **({"angle": 0.0, "shear": 0.0, "scale": 1.0, "shift": (0.0, 0.0)} | changes)
    )


@pytest.mark.parametrize("seed", range(5))
def test_with_everything_off_nothing_changes(seed: int) -> None:
    pixels = noise()
    assert np.array_equal(augmentation()(pixels, np.random.default_rng(seed)), pixels)


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (17, 31), (64, 33), (256, 256)])
def test_shape_and_type_are_kept(shape: tuple[int, int]) -> None:
    for seed in range(3):
        result = Augmentation(**EVERYTHING)(noise(*shape), np.random.default_rng(seed))
        assert result.shape == (*shape, 3)
        assert result.dtype == np.uint8
        assert result.flags.c_contiguous


def test_the_image_given_is_not_written_to() -> None:
    pixels = noise()
    before = pixels.copy()
    pixels.setflags(write=False)
    for seed in range(5):
        Augmentation(**EVERYTHING)(pixels, np.random.default_rng(seed))
    assert np.array_equal(pixels, before)


def test_what_is_drawn_depends_on_the_generator_alone() -> None:
    augment, pixels = Augmentation(**EVERYTHING), noise()
    results = []
    for seed in (1, 1, 2):
        np.random.seed(len(results))
        results.append(augment(pixels, np.random.default_rng(seed)))
    assert np.array_equal(results[0], results[1])
    assert not np.array_equal(results[0], results[2])


@pytest.mark.parametrize("width", [8, 9])
def test_half_of_the_images_are_mirrored_exactly(width: int) -> None:
    pixels = noise(5, width)
    generator = np.random.default_rng(0)
    mirrored = 0
    for _ in range(400):
        result = augmentation(flip=True)(pixels, generator)
        if not np.array_equal(result, pixels):
            assert np.array_equal(result, pixels[:, ::-1])
            mirrored += 1
    assert 150 < mirrored < 250


@pytest.mark.parametrize("size", [64, 65])
def test_a_move_by_nothing_changes_nothing(size: int) -> None:
    assert np.array_equal(moved(noise(size, size)), noise(size, size))


@pytest.mark.parametrize("size", [64, 65])
def test_half_a_turn_is_exact_but_for_rounding(size: int) -> None:
    pixels = noise(size, size)
    difference = moved(pixels, angle=np.pi).astype(int) - pixels[::-1, ::-1]
    assert np.abs(difference).max() <= 1


@pytest.mark.parametrize("degrees", [90, -90, 30, -45])
def test_a_rotation_takes_a_dot_where_it_should(degrees: float) -> None:
    angle = np.deg2rad(degrees)
    x, y = centre(moved(dot(32 + 16, 32), angle=angle))
    # y points down: a positive angle turns clockwise to the eye.
    assert (x, y) == pytest.approx((32 + 16 * np.cos(angle), 32 + 16 * np.sin(angle)), abs=0.1)


@pytest.mark.parametrize("degrees", [20, -35])
def test_a_shear_moves_a_dot_sideways_by_its_height(degrees: float) -> None:
    shear = np.deg2rad(degrees)
    x, y = centre(moved(dot(32, 32 + 16), shear=shear))
    assert (x, y) == pytest.approx((32 + 16 * np.tan(shear), 32 + 16), abs=0.1)
    assert centre(moved(dot(32 + 16, 32), shear=shear)) == pytest.approx((32 + 16, 32), abs=0.1)


def test_the_middle_of_the_image_stays_in_rotation_and_zoom() -> None:
    for changes in ({"angle": 0.7}, {"shear": 0.5}, {"scale": 1.3}, {"scale": 0.8}):
        assert centre(moved(dot(32, 32), **changes)) == pytest.approx((32, 32), abs=0.05)


@pytest.mark.parametrize("scale", [2.0, 1.25, 0.75])
def test_zoom_moves_things_away_from_the_middle_by_its_factor(scale: float) -> None:
    assert centre(moved(dot(42, 27), scale=scale)) == pytest.approx(
        (32 + 10 * scale, 32 - 5 * scale), abs=0.1
    )


def test_zoom_in_makes_things_larger() -> None:
    for scale in (1.5, 2.0):
        area = moved(dot(32, 32), scale=scale).sum() / dot(32, 32).sum()
        assert area == pytest.approx(scale**2, rel=0.15)


def test_a_shift_is_a_fraction_of_the_side() -> None:
    pixels = np.zeros((40, 80, 3), np.uint8)
    pixels[20, 40] = 255
    shifted = moved(pixels, shift=(0.25, 0.1))
    assert np.argwhere(shifted[:, :, 0]).tolist() == [[24, 60]]


def test_what_comes_in_from_outside_is_a_mirror_image() -> None:
    pixels = noise(20, 20)
    shifted = moved(pixels, shift=(0.25, 0.0))
    assert np.array_equal(shifted[:, 5:], pixels[:, :-5])
    assert np.array_equal(shifted[:, :5], pixels[:, 4::-1])


@pytest.mark.parametrize(
    "changes",
    [
        {"angle": np.pi / 4},
        {"scale": 0.5},
        {"shift": (0.5, -0.5)},
        {"scale": 0.3},
        {"shift": (0.8, 0.0)},
        {"shear": -1.0},
        {"angle": np.pi / 4, "shear": 0.4, "scale": 0.8, "shift": (0.1, 0.1)},
    ],
)
def test_no_black_comes_in_from_outside(changes: Any) -> None:
    white = np.full((64, 64, 3), 255, np.uint8)
    assert moved(white, **changes).min() == 255


@pytest.mark.parametrize(("name", "amount"), [("rotation", 30.0), ("zoom", 0.4), ("shift", 0.3)])
def test_amounts_are_drawn_either_way_and_never_beyond(name: str, amount: float) -> None:
    augment = augmentation(**{name: amount})
    generator = np.random.default_rng(0)
    found = np.array([centre(augment(dot(42, 32), generator)) for _ in range(200)])
    x, y = found[:, 0] - 32, found[:, 1] - 32
    drawn = {"rotation": np.rad2deg(np.arctan2(y, x)), "zoom": x / 10 - 1, "shift": (x - 10) / 65}
    values = drawn[name] / amount
    assert -1.05 < values.min() < -0.8
    assert 0.8 < values.max() < 1.05


def test_contrast_changes_the_spread_and_not_the_mean() -> None:
    pixels = smooth()
    generator = np.random.default_rng(0)
    ratios = []
    for _ in range(100):
        result = augmentation(contrast=0.5)(pixels, generator)
        assert result.mean() == pytest.approx(pixels.mean(), abs=0.5)
        ratios.append(result.std() / pixels.std())
    assert 0.49 < min(ratios) < 0.6
    assert 1.4 < max(ratios) < 1.51


def test_contrast_beyond_the_range_is_clipped_not_wrapped() -> None:
    pixels = np.zeros((4, 4, 3), np.uint8)
    pixels[:2] = 255
    for seed in range(10):
        result = augmentation(contrast=0.9)(pixels, np.random.default_rng(seed))
        assert result[:2].min() > 127
        assert result[2:].max() < 128


def test_compressing_again_changes_pixels_slightly() -> None:
    pixels = smooth()
    result = augmentation(jpeg=1.0)(pixels, np.random.default_rng(0))
    difference = np.abs(result.astype(int) - pixels)
    assert 0 < difference.mean() < 4


def test_the_share_of_images_compressed_again_is_the_one_asked_for() -> None:
    pixels, generator = noise(8, 8), np.random.default_rng(0)
    changed = sum(
        not np.array_equal(augmentation(jpeg=0.25)(pixels, generator), pixels) for _ in range(400)
    )
    assert 70 < changed < 130


def test_the_quality_is_drawn_from_the_whole_range(monkeypatch: pytest.MonkeyPatch) -> None:
    qualities = []

    def noting(pixels: np.ndarray, quality: int) -> np.ndarray:
        qualities.append(quality)
        return pixels

    monkeypatch.setattr("deepfake.training.augmentation._encoded_again", noting)
    generator = np.random.default_rng(0)
    for _ in range(1000):
        augmentation(jpeg=1.0)(noise(4, 4), generator)
    assert (min(qualities), max(qualities)) == JPEG_QUALITIES


def test_compression_is_that_of_jpeg_at_the_quality() -> None:
    file = io.BytesIO()
    Image.fromarray(noise()).save(file, "JPEG", quality=60)
    assert np.array_equal(_encoded_again(noise(), 60), np.asarray(Image.open(file)))
