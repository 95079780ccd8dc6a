"""The symmetries of the square."""

import numpy as np
import pytest

from deepfake.common import labels
from deepfake.models import symmetries
from tests.support.networks import noise_images

pytestmark = pytest.mark.slow


def test_views_are_the_symmetries_of_the_square():
    square = noise_images(2, 5, 5)
    expected = {
        "original": square,
        "mirrored": square[:, :, ::-1],
        "flipped": square[:, ::-1],
        "turned": np.rot90(square, 2, axes=(1, 2)),
        "transposed": square.transpose(0, 2, 1, 3),
        "rotated_right": np.rot90(square, -1, axes=(1, 2)),
        "rotated_left": np.rot90(square, 1, axes=(1, 2)),
        "transversed": np.rot90(square, 2, axes=(1, 2)).transpose(0, 2, 1, 3),
    }
    assert set(expected) == set(labels.VIEWS)
    for view, pixels in expected.items():
        np.testing.assert_array_equal(np.asarray(symmetries.seen(square, view)), pixels)


@pytest.mark.parametrize("view", labels.VIEWS)
def test_views_without_tensorflow_are_keras_s(view):
    (image_file,) = noise_images(1, 5, 5)
    wanted = np.asarray(symmetries.seen(image_file[None], view))[0]
    np.testing.assert_array_equal(symmetries.shown(image_file, view), wanted)


@pytest.mark.parametrize("view", labels.VIEWS)
def test_a_view_is_undone(view):
    heat = np.arange(9.0).reshape(3, 3)
    shown = symmetries.shown(heat[..., np.newaxis], view)[..., 0]
    np.testing.assert_array_equal(symmetries.undone(shown, view), heat)
