"""Image files: the one way their bytes become pixels, and what the file says about itself."""

import io
import struct
import threading
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

# Raster formats only: formats that are programs (EPS) or need other programs stay shut.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")

# A header may claim any size, so the claim is checked before a pixel is allocated.
MAX_PIXELS = 64_000_000
# Above this, images are decoded one at a time: threads must not multiply a large one's memory.
LARGE_PIXELS = 8_000_000
_one_large = threading.Lock()

# Table K.1 and K.2 of ITU-T T.81, which the IJG's library scales by its quality setting.
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

# Why bytes are no usable image.
REASONS = (
    "empty file", "not an image", "truncated", "corrupt", "too many pixels",
    "unsupported pixel type",
)  # fmt: skip


class BadImage(Exception):
    """Bytes that are no usable image; `reason` is one of a few short, stable phrases."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Facts:
    """What an image file's header says.

    `width` and `height` are the stored ones, before EXIF orientation; `bits_per_pixel` is
    8 x file size / (width x height), the compressed size; `jpeg_quality` is 1 to 100 or None.
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

    EXIF orientation is applied; of an animation the first frame is taken. Greyscale is repeated
    over the channels, palettes are looked up, transparency is laid over white, 16-bit grey is
    scaled to 8, CMYK is converted without colour management, and ICC profiles are ignored.

    Raises:
        BadImage: for one of `REASONS`.
    """
    image = _open(data)
    try:
        if image.width * image.height <= LARGE_PIXELS:
            return _pixels(image)
        with _one_large:
            return _pixels(image)
    except BadImage:
        raise
    # Whatever a decoder raises on bytes that anyone may have made, the bytes are at fault.
    except Exception as error:
        raise BadImage(_reason(error)) from error


def facts(data: bytes) -> Facts:
    """Read an image file's header; no pixels are decoded.

    Raises:
        BadImage: as `decode`, for what the header shows.
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
    # Without copies that are not needed: of a large image each takes 256 MB.
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
    """Grey of 0 to 65535 to three equal channels of 0 to 255; Pillow's own conversion clips."""
    values = np.asarray(image).clip(0, 65535).astype(np.int32)
    values += 128  # in place: a large image must not fill the memory
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
    """The IJG quality whose tables are nearest, 1 to 100; exact for files by IJG's library."""
    tables = getattr(image, "quantization", {})
    used = [np.array(tables[key]) for key in sorted(tables)[:2] if len(tables[key]) == 64]
    if not used:
        return None
    distance = sum(np.abs(_scaled_tables()[:, i] - table).sum(1) for i, table in enumerate(used))
    # At equal distance (tables of ones from 100 down to some quality) the highest is meant.
    return 100 - int(np.argmin(np.asarray(distance)[::-1]))


def _subsampling(image: Image.Image) -> str:
    """Chroma subsampling by the sampling factors of the frame header; "none" for grey."""
    layers = getattr(image, "layer", [])
    if len(layers) < 3:
        return "none"
    try:
        luma, chroma = layers[0][1:3], layers[1][1:3]
        ratio = (luma[0] / chroma[0], luma[1] / chroma[1])
    except (struct.error, IndexError, TypeError, ZeroDivisionError):
        return "other"
    return _SUBSAMPLING.get(ratio, "other")
