"""What a JPEG says about itself: its quality, its chroma subsampling, the number of its scans."""

import re
import struct
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

# Tables K.1 and K.2 of ITU-T T.81, which the IJG's library scales by its quality setting.
_LUMINANCE = (
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55,
    14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51, 87, 80, 62,
    18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
)  # fmt: skip
_CHROMINANCE = (
    17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99,
    24, 26, 56, 99, 99, 99, 99, 99, 47, 66, 99, 99, 99, 99, 99, 99,
    *([99] * 32),
)  # fmt: skip

_SUBSAMPLING = {
    (1, 1): "4:4:4",
    (2, 1): "4:2:2",
    (2, 2): "4:2:0",
    (1, 2): "4:4:0",
    (4, 1): "4:1:1",
}

# A progressive JPEG has about 10 scans. Each goes over the whole image, so a small file of many
# takes minutes; libtiff has the same limit.
MAX_SCANS = 100
MAX_SCANNED_PIXELS = 1_000_000_000
_SCAN = b"\xff\xda"
# The bytes of a scan hold no 0xFF, except before 0 or in a marker D0 to D7 that restarts it.
_MARKER = re.compile(rb"\xff([\x01-\xcf\xd8-\xfe])")
_WITHOUT_LENGTH = {0x01, 0xD8}
_END, _SCAN_CODE = 0xD9, 0xDA


def too_many_scans(data: bytes, pixels: int) -> bool:
    """Whether decoding would go over the image too often, by the markers of the file alone.

    Args:
        data: the file.
        pixels: width x height.
    """
    allowed = min(MAX_SCANS, MAX_SCANNED_PIXELS // pixels)
    # The two bytes may stand elsewhere too, in a thumbnail say, but no scan is without them.
    return data.count(_SCAN) > allowed and _scans(data) > allowed


def _scans(data: bytes) -> int:
    """Count the scans up to the end of the image, as libjpeg finds them."""
    found, at = 0, 0
    while marker := _MARKER.search(data, at):
        code = marker[1][0]
        if code == _END:
            break
        found += code == _SCAN_CODE
        at = marker.end()
        if code not in _WITHOUT_LENGTH:
            at += int.from_bytes(data[at : at + 2], "big")
    return found


@cache
def _scaled_tables() -> NDArray[np.int64]:
    """The IJG's tables at quality 1 to 100, shape (100, 2, 64): jcparam.c, jpeg_quality_scaling."""
    number = np.arange(1, 101)
    scale = np.where(number < 50, 5000 // number, 200 - 2 * number)[:, np.newaxis, np.newaxis]
    base = np.array([_LUMINANCE, _CHROMINANCE])
    return np.asarray(np.clip((base * scale + 50) // 100, 1, 255), dtype=np.int64)


def quality(image: Image.Image) -> int | None:
    """The IJG quality whose tables are nearest, 1 to 100; exact for files by the IJG's library."""
    tables = getattr(image, "quantization", {})
    used = [np.array(tables[key]) for key in sorted(tables)[:2] if len(tables[key]) == 64]
    if not used:
        return None
    distance = sum(np.abs(_scaled_tables()[:, i] - table).sum(1) for i, table in enumerate(used))
    # Several high qualities may have the same tables (all ones); the highest is chosen.
    return 100 - int(np.argmin(np.asarray(distance)[::-1]))


def subsampling(image: Image.Image) -> str:
    """The chroma subsampling, by the sampling factors of the frame header; "none" for grey."""
    layers = getattr(image, "layer", [])
    if len(layers) < 3:
        return "none"
    try:
        luma, chroma = layers[0][1:3], layers[1][1:3]
        ratio = (luma[0] / chroma[0], luma[1] / chroma[1])
    except (struct.error, IndexError, TypeError, ZeroDivisionError):
        return "other"
    return _SUBSAMPLING.get(ratio, "other")
