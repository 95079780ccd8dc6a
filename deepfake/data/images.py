"""Decode image files to pixels, and read what their headers say.

Every stage decodes through `decode`, so training and scoring see the same pixels.
"""

import io
import struct
import threading
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

# Raster formats only: formats that are programs (EPS) or need other programs are refused.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")

# A header may claim any size, so the claim is checked before memory is allocated for pixels.
MAX_PIXELS = 64_000_000
# Larger images are decoded one at a time, or threads would multiply the memory that one takes.
LARGE_PIXELS = 8_000_000
_one_large = threading.Lock()

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
_EXIF_IFD = 34665

# Why bytes are not a usable image.
REASONS = (
    "empty file", "not an image", "truncated", "corrupt", "too many pixels",
    "unsupported pixel type",
)  # fmt: skip


class BadImage(Exception):
    """Bytes are not a usable image; `reason` is one of `REASONS`."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Facts:
    """What an image file's header says.

    Attributes:
        format: as Pillow names it, such as "JPEG".
        mode: as Pillow names it, such as "RGB".
        width: in pixels as stored, before EXIF orientation is applied.
        height: likewise.
        bits_per_pixel: the compressed size, 8 x file size / (width x height).
        jpeg_quality: 1 to 100; None for other formats.
        subsampling: of the chroma of a JPEG, such as "4:2:0"; "none" for grey and other formats,
            "other" for unusual factors.
        progressive: whether a JPEG is progressive.
        has_exif: whether there is EXIF data.
        has_icc: whether there is a colour profile.
    """

    format: str
    mode: str
    width: int
    height: int
    bits_per_pixel: float
    jpeg_quality: int | None
    subsampling: str
    progressive: bool
    has_exif: bool
    has_icc: bool


def decode(data: bytes) -> NDArray[np.uint8]:
    """Decode an image file to uint8 RGB pixels, shape (height, width, 3).

    EXIF orientation is applied. The first frame of an animation is used. Greyscale is repeated
    over the channels, palettes are looked up, transparency is composited on white, 16-bit grey is
    scaled to 8 bits, CMYK is converted without colour management, and ICC profiles are ignored.

    Raises:
        BadImage: the bytes are not a usable image; the reason is one of `REASONS`.
    """
    image = _open(data)
    try:
        if image.width * image.height <= LARGE_PIXELS:
            return _pixels(image)
        with _one_large:
            return _pixels(image)
    except BadImage:
        raise
    # The bytes may come from anyone, so whatever a decoder raises, the bytes are at fault.
    except Exception as error:
        raise BadImage(_reason(error)) from error


def resized(pixels: NDArray[Any], size: int) -> NDArray[np.float32]:
    """Resize the centre square of an image.

    Bilinear, with antialiasing where it shrinks: Pillow's resize of floats, which agrees with
    `models.pooling.resized` to 5e-5 of the range.

    Args:
        pixels: shape (height, width, channels), of any type and range.
        size: pixels.

    Returns:
        Shape (size, size, channels), float32, in the same range.
    """
    height, width, channels = pixels.shape
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = pixels[top : top + side, left : left + side].astype(np.float32)
    if side == size:
        return square
    result = np.empty((size, size, channels), np.float32)
    for channel in range(channels):
        image = Image.fromarray(np.ascontiguousarray(square[..., channel]))
        resized_channel = image.resize((size, size), Image.Resampling.BILINEAR)
        result[..., channel] = np.asarray(resized_channel)
    return result


def facts(data: bytes) -> Facts:
    """Read an image file's header, without decoding pixels.

    Raises:
        BadImage: as for `decode`, as far as the header shows it.
    """
    image = _open(data)
    info: dict[Any, Any] = image.info
    is_jpeg = image.format in ("JPEG", "MPO")
    # TIFF keeps its EXIF in a directory of its own.
    tiff_tags = getattr(image, "tag_v2", {})
    return Facts(
        format=str(image.format),
        mode=image.mode,
        width=image.width,
        height=image.height,
        bits_per_pixel=8 * len(data) / (image.width * image.height),
        jpeg_quality=_jpeg_quality(image) if is_jpeg else None,
        subsampling=_subsampling(image) if is_jpeg else "none",
        progressive=is_jpeg and bool(info.get("progressive")),
        has_exif=bool(info.get("exif")) or _EXIF_IFD in tiff_tags,
        has_icc=bool(info.get("icc_profile")),
    )


def _open(data: bytes) -> Image.Image:
    if not data:
        raise BadImage("empty file")
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError:
        raise BadImage("not an image") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise BadImage("too many pixels") from None
    except Exception as error:  # as in `decode`
        raise BadImage(_reason(error)) from error
    if image.width < 1 or image.height < 1:
        raise BadImage("corrupt")
    if image.width * image.height > MAX_PIXELS:
        raise BadImage("too many pixels")
    return image


def _reason(error: Exception) -> str:
    text = str(error).lower()
    if isinstance(error, EOFError) or "truncated" in text or "premature end" in text:
        return "truncated"
    return "corrupt"


def _pixels(image: Image.Image) -> NDArray[np.uint8]:
    image.load()
    # In place: each copy of a large image takes 256 MB.
    ImageOps.exif_transpose(image, in_place=True)
    if image.mode.startswith("I"):
        return _sixteen_bit(image)
    if image.mode == "F":
        raise BadImage("unsupported pixel type")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    try:
        rgb = image if image.mode == "RGB" else image.convert("RGB")
    except ValueError:
        raise BadImage("unsupported pixel type") from None
    return np.array(rgb, dtype=np.uint8)


def _sixteen_bit(image: Image.Image) -> NDArray[np.uint8]:
    """Scale grey of 0 to 65535 to three equal channels of 0 to 255; Pillow would clip it."""
    values = np.asarray(image).clip(0, 65535).astype(np.int32)
    values += 128  # in place, because of the memory that a large image takes
    values //= 257
    return np.repeat(values.astype(np.uint8)[:, :, np.newaxis], 3, axis=2)


@cache
def _scaled_tables() -> NDArray[np.int64]:
    """The IJG's tables at quality 1 to 100, shape (100, 2, 64): jcparam.c, jpeg_quality_scaling."""
    quality = np.arange(1, 101)
    scale = np.where(quality < 50, 5000 // quality, 200 - 2 * quality)[:, np.newaxis, np.newaxis]
    base = np.array([_LUMINANCE, _CHROMINANCE])
    return np.asarray(np.clip((base * scale + 50) // 100, 1, 255), dtype=np.int64)


def _jpeg_quality(image: Image.Image) -> int | None:
    """The IJG quality whose tables are nearest, 1 to 100; exact for files by the IJG's library."""
    tables = getattr(image, "quantization", {})
    used = [np.array(tables[key]) for key in sorted(tables)[:2] if len(tables[key]) == 64]
    if not used:
        return None
    distance = sum(np.abs(_scaled_tables()[:, i] - table).sum(1) for i, table in enumerate(used))
    # Several high qualities may have the same tables (all ones); the highest is chosen.
    return 100 - int(np.argmin(np.asarray(distance)[::-1]))


def _subsampling(image: Image.Image) -> str:
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
