"""Decode image files to pixels, and read what their headers say.

Every stage decodes through `decode`, so training and scoring see the same pixels.
"""

import io
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from deepfake.common.errors import PipelineError
from deepfake.data import jpeg, png

# Raster formats only: formats that are programs (EPS) or need other programs are refused.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")

# What Pillow calls a JPEG, and one with several images.
JPEGS = ("JPEG", "MPO")

# A header may claim any size, so the claim is checked before memory is allocated for pixels.
MAX_PIXELS = 64_000_000
# What a JPEG can hold. Each row and each column has a cost of its own in Pillow.
MAX_SIDE = 65_500
# Larger images are in memory one at a time, or threads would multiply the memory that one takes.
LARGE_PIXELS = 8_000_000
_one_large = threading.Lock()
# Pixels that Pillow holds in blocks of this size go back to the system when they are freed. Smaller
# blocks stay with the thread that had them.
_BLOCK = 40 << 20

_EXIF_IFD = 34665

T = TypeVar("T")

# Why bytes are not a usable image.
REASONS = (
    "empty file", "not an image", "truncated", "corrupt", "too many pixels", "side too long",
    "too many scans", "unsupported pixel type",
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
    return with_pixels(data, lambda pixels: pixels)


def with_pixels(data: bytes, use: Callable[[NDArray[np.uint8]], T]) -> T:
    """Return `use(decode(data))`; large images are decoded and used one at a time.

    Raises:
        BadImage: as for `decode`.
    """
    return _despite_text(lambda readable: _used(readable, use), data)


def memory(data: bytes) -> int:
    """About how many bytes an image file takes with its pixels, by its header; 0 if it is bad."""
    try:
        image = _despite_text(_open, data)
    except BadImage:
        return 0
    return len(data) + 3 * image.width * image.height


def _used(data: bytes, use: Callable[[NDArray[np.uint8]], T]) -> T:
    image = _open(data)
    pixels = image.width * image.height
    if image.format in JPEGS and jpeg.too_many_scans(data, pixels):
        raise BadImage("too many scans")
    if pixels <= LARGE_PIXELS:
        return use(rgb(image))
    with _one_large:
        Image.core.set_block_size(_BLOCK)  # type: ignore[attr-defined]
        return use(rgb(image))


def rgb(image: Image.Image) -> NDArray[np.uint8]:
    """Decode an image that Pillow has opened, as `decode` does; the image is closed.

    Raises:
        BadImage: as for `decode`.
    """
    try:
        return _pixels(image)
    except BadImage:
        raise
    # The bytes may come from anyone, so whatever a decoder raises, the bytes are at fault.
    except Exception as error:
        raise BadImage(_reason(error)) from error


def require_pixels(image: Any) -> None:
    """Refuse an array that is not uint8 (height, width, 3).

    Floats in 0 to 1, as many programs use them, would be scored as a black image.

    Raises:
        PipelineError: it says what was received.
    """
    array = np.asarray(image)
    if array.dtype == np.uint8 and array.ndim == 3 and array.shape[2] == 3 and array.size:
        return
    numbers = array.size and np.issubdtype(array.dtype, np.number)
    values = f" from {array.min():g} to {array.max():g}" if numbers else ""
    raise PipelineError(
        f"an image is expected as uint8, 0 to 255, of shape (height, width, 3); received "
        f"{array.dtype}{values}, of shape {array.shape}"
    )


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
    image = _despite_text(_open, data)
    info: dict[Any, Any] = image.info
    is_jpeg = image.format in JPEGS
    # TIFF keeps its EXIF in a directory of its own.
    tiff_tags = getattr(image, "tag_v2", {})
    return Facts(
        format=str(image.format),
        mode=image.mode,
        width=image.width,
        height=image.height,
        bits_per_pixel=8 * len(data) / (image.width * image.height),
        jpeg_quality=jpeg.quality(image) if is_jpeg else None,
        subsampling=jpeg.subsampling(image) if is_jpeg else "none",
        progressive=is_jpeg and bool(info.get("progressive")),
        has_exif=bool(info.get("exif")) or _EXIF_IFD in tiff_tags,
        has_icc=bool(info.get("icc_profile")),
    )


def _despite_text(use: Callable[[bytes], T], data: bytes) -> T:
    """`use(data)`; if that fails, of a PNG without its text, a fault in which harms no pixel."""
    try:
        return use(data)
    except BadImage:
        readable = png.without_text(data)
        if readable is None:
            raise
    return use(readable)


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
    if max(image.size) > MAX_SIDE:
        raise BadImage("side too long")
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
        image = _on_white(image)
    try:
        rgb = image if image.mode == "RGB" else image.convert("RGB")
    except ValueError:
        raise BadImage("unsupported pixel type") from None
    values = np.asarray(rgb)
    # What Pillow holds of a large image is freed before NumPy has its own.
    image.close()
    rgb.close()
    return np.array(values, dtype=np.uint8)


def _on_white(image: Image.Image) -> Image.Image:
    white = Image.new("RGBA", image.size, "white")
    opaque = Image.alpha_composite(white, image if image.mode == "RGBA" else image.convert("RGBA"))
    image.close()
    return opaque


def _sixteen_bit(image: Image.Image) -> NDArray[np.uint8]:
    """Scale grey of 0 to 65535 to three equal channels of 0 to 255; Pillow would clip it."""
    values = np.asarray(image).clip(0, 65535).astype(np.int32)
    values += 128  # in place, because of the memory that a large image takes
    values //= 257
    return np.repeat(values.astype(np.uint8)[:, :, np.newaxis], 3, axis=2)
