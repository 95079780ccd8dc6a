"""What is found out about an image for the page, and the files that it offers for download."""

import csv
import io

import numpy as np
import pytest
from PIL import Image

from deepfake.data.images import decode
from deepfake.serving import downloads
from deepfake.serving.detector import NamedImage, Prediction
from deepfake.serving.examination import (
    PREVIEW,
    THUMBNAIL,
    Examination,
    examine,
    examine_all,
    scored_pixels,
)
from deepfake.sources.portraits.render import render


class Widths:
    """In place of a detector: the score says how wide the scored pixels are."""

    def score(self, pixels):
        return pixels.shape[1] / 1000

    def verdict(self, score):
        return "fake" if score >= 0.3 else "real"


@pytest.fixture(scope="module")
def wide():
    """A portrait of 200 pixels in an image of 600 x 300."""
    image = Image.new("RGB", (600, 300), "grey")
    portrait = decode(render(label=0, seed=1, index=3, size=200, strength=1.0))
    image.paste(Image.fromarray(portrait), (200, 50))
    file = io.BytesIO()
    image.save(file, "PNG")
    return NamedImage("wide.png", file.getvalue())


def size(data):
    return Image.open(io.BytesIO(data)).size


def test_the_whole_image_is_scored(wide):
    one = examine(Widths(), wide, on_crop=False)
    assert one.prediction == Prediction("wide.png", 0.6, "fake")
    assert (one.on_crop, one.scored, one.doubt) == (False, "whole image", None)
    assert size(one.thumbnail) == (THUMBNAIL, THUMBNAIL // 2)
    assert size(one.preview) == (PREVIEW, PREVIEW // 2)
    assert scored_pixels(wide, one).shape == (300, 600, 3)


def test_the_crop_is_scored(wide):
    one = examine(Widths(), wide, on_crop=True)
    assert one.on_crop
    side = size(one.crop)[0]
    assert 120 < side < 250
    assert one.prediction.score == side / 1000
    assert scored_pixels(wide, one).shape == (side, side, 3)


def test_the_face_is_framed_where_it_is(wide):
    one = examine(Widths(), wide, on_crop=False)
    preview = np.asarray(Image.open(io.BytesIO(one.preview)).convert("RGB"), int)
    corner = [round(0.8 * value) for value in (one.face.box.left, one.face.box.top)]
    near = preview[corner[1] - 2 : corner[1] + 5, corner[0] + 10]
    assert np.abs(near - (255, 160, 0)).sum(axis=1).min() < 90


def test_without_a_face_the_whole_image_is_scored(jpeg):
    one = examine(Widths(), NamedImage("noise.jpg", jpeg(200, 100)), on_crop=True)
    assert (one.on_crop, one.face, one.crop) == (False, None, b"")
    assert one.prediction.score == 0.2
    assert "No face" in one.doubt


def test_bad_images_are_among_the_others(jpeg, wide):
    files = [NamedImage("a.jpg", b""), wide, NamedImage("b.jpg", b"text"), wide]
    found = list(examine_all(Widths(), files, on_crop=False))
    assert [one.prediction.reason for one in found] == ["empty file", None, "not an image", None]
    assert [one.prediction.name for one in found] == ["a.jpg", "wide.png", "b.jpg", "wide.png"]
    assert found[0].thumbnail == b""


def test_the_csv_has_a_row_for_each_and_no_formula():
    found = [
        Examination(Prediction("=1+1.jpg", 0.25, "real"), doubt="small", thumbnail=b"x"),
        Examination(Prediction("a,\nb", None, None, "truncated")),
    ]
    rows = list(csv.reader(io.StringIO(downloads.as_csv(found))))
    assert rows == [
        ["name", "score", "verdict", "reason", "scored", "remark"],
        ["./=1+1.jpg", "0.25", "real", "", "whole image", "small"],
        ["a,\\nb", "", "", "truncated", "", ""],
    ]
