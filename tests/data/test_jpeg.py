"""How many scans of a JPEG are decoded, by its markers."""

import io

import numpy as np
import pytest
from PIL import Image

from deepfake.data import jpeg

SCAN = b"\xff\xda"


def encoded(progressive: bool) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (300, 200, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", progressive=progressive, quality=95)
    return file.getvalue()


def repeated(data: bytes, times: int) -> bytes:
    """The file with its last scan there so many times."""
    last = data[data.rindex(SCAN) : -2]
    return data[:-2] + last * (times - 1) + data[-2:]


def test_usual_files_are_decoded_at_the_largest_size() -> None:
    assert jpeg._scans(encoded(progressive=False)) == 1
    assert jpeg._scans(encoded(progressive=True)) == 10
    assert not jpeg.too_many_scans(encoded(progressive=True), 64_000_000)


@pytest.mark.parametrize(
    ("times", "pixels", "refused"),
    [(90, 60_000, False), (92, 60_000, True), (8, 64_000_000, True), (3, 64_000_000, False)],
)
def test_scans_are_bounded_alone_and_with_the_pixels(
    times: int, pixels: int, refused: bool
) -> None:
    data = repeated(encoded(progressive=True), times)
    assert jpeg._scans(data) == 9 + times
    assert jpeg.too_many_scans(data, pixels) == refused


def test_only_scans_of_the_image_itself_count() -> None:
    thumbnail = SCAN * 5000
    segment = b"\xff\xe1" + (2 + len(thumbnail)).to_bytes(2, "big") + thumbnail
    data = encoded(progressive=False)
    inside = data[:2] + segment + data[2:] + SCAN * 5000
    assert jpeg._scans(inside) == 1
    assert not jpeg.too_many_scans(inside, 60_000)
