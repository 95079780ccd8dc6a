"""Faces are found where they are, whatever the image's shape, and a crop holds the face."""

import hashlib
import re

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from deepfake.data.images import decode
from deepfake.serving.faces import NETWORK, Box, Face, crop, doubt, doubt_of_crop, find_faces
from deepfake.sources.portraits.render import render


@pytest.fixture(scope="module")
def portrait() -> NDArray[np.uint8]:
    """A drawn portrait, 256 pixels square, whose face lies about the middle."""
    return decode(render(label=0, seed=1, index=3, size=256, strength=1.0))


def grey(height: int, width: int) -> NDArray[np.uint8]:
    return np.full((height, width, 3), 120, np.uint8)


def middle(box: Box) -> tuple[float, float]:
    return (box.left + box.right) / 2, (box.top + box.bottom) / 2


def test_the_network_is_the_file_that_its_notice_names() -> None:
    notice = (NETWORK.parent / "NOTICE").read_text()
    (stated,) = re.findall(r"\b[0-9a-f]{64}\b", notice)
    assert hashlib.sha256(NETWORK.read_bytes()).hexdigest() == stated
    assert "Apache License" in (NETWORK.parent / "LICENSE").read_text()


def test_a_portrait_has_one_face_in_its_middle(portrait: NDArray[np.uint8]) -> None:
    ((box, score),) = find_faces(portrait)
    assert middle(box) == pytest.approx((128, 142), abs=20)
    assert 100 < box.right - box.left < 180
    assert 0.5 <= score <= 1
    assert doubt(find_faces(portrait), 256, 256) is None


@pytest.mark.parametrize(("height", "width"), [(256, 600), (700, 256), (333, 517)])
def test_a_face_is_found_where_it_was_pasted(
    portrait: NDArray[np.uint8], height: int, width: int
) -> None:
    (alone,) = find_faces(portrait)
    image = grey(height, width)
    top, left = height - 256, (width - 256) // 3
    image[top:, left : left + 256] = portrait
    (found,) = find_faces(image)
    expected = middle(alone.box)
    assert middle(found.box) == pytest.approx((expected[0] + left, expected[1] + top), abs=20)


def test_two_faces_are_two(portrait: NDArray[np.uint8]) -> None:
    faces = find_faces(np.concatenate([portrait, portrait[:, ::-1]], axis=1))
    assert sorted(middle(face.box)[0] > 256 for face in faces) == [False, True]


def test_a_large_image_gives_the_same_face(portrait: NDArray[np.uint8]) -> None:
    large = np.asarray(Image.fromarray(portrait).resize((4096, 4096)))
    (small_face,), (large_face,) = find_faces(portrait), find_faces(large)
    assert np.array(large_face.box) / 16 == pytest.approx(np.array(small_face.box), abs=4)


@pytest.mark.parametrize("shape", [(1, 1), (1, 3000), (3000, 1), (40, 40)])
def test_an_image_without_a_face_has_none(shape: tuple[int, int]) -> None:
    assert find_faces(grey(*shape)) == []
    assert "No face" in str(doubt([], *shape))


def test_a_crop_is_the_square_around_the_face() -> None:
    image = np.arange(400 * 600 * 3).astype(np.uint8).reshape(400, 600, 3)
    cut = crop(image, Face(Box(250, 150, 350, 250), 0.9))
    assert np.array_equal(cut, image[115:285, 215:385])


@pytest.mark.parametrize("box", [(0, 0, 100, 100), (560, 350, 600, 400), (0, 0, 600, 400)])
def test_a_crop_at_the_edge_stays_within_the_image(box: tuple[int, int, int, int]) -> None:
    cut = crop(grey(400, 600), Face(Box(*box), 0.9))
    height, width, _ = cut.shape
    assert height == width == min(400, round(1.7 * max(box[2] - box[0], box[3] - box[1])))


@pytest.mark.parametrize(
    ("box", "said"),
    [
        ((250, 150, 340, 240), "small: 90 pixels of 400"),
        ((0, 100, 160, 260), "outside the centre square"),
        ((200, 100, 360, 260), None),
    ],
)
def test_what_is_said_of_a_face(box: tuple[int, int, int, int], said: str | None) -> None:
    told = doubt([Face(Box(*box), 0.9)], 400, 600)
    assert (said in told) if said and told else said == told


@pytest.mark.parametrize(("side", "said"), [(63, "The face is small: 63 pixels."), (64, None)])
def test_a_crop_needs_enough_pixels_wherever_the_face_is(side: int, said: str | None) -> None:
    assert doubt_of_crop(Face(Box(0, 0, side, side), 0.9)) == said
