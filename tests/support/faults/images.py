"""What can be wrong with an image file."""

import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image, ImageCms

from tests.support.faults.cases import HANDLED, PAGE, REFUSED, Awkward
from tests.support.making import encoded, image_file, noise

RED, GREEN = (254, 0, 0), (0, 128, 1)


def jpeg(**options: Any) -> bytes:
    return encoded(noise(5, 64, 48), "JPEG", **options)


def claimed(width: int, height: int) -> bytes:
    """A PNG of this size, all black; only as large as its compressed rows."""
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    rows = zlib.compressobj()
    body = b"".join(rows.compress(b"\0" * (1 + (width + 7) // 8)) for _ in range(height))
    body += rows.flush()
    parts = chunk(b"IHDR", header), chunk(b"IDAT", body), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def of(color: Any, mode: str = "RGB", size: tuple[int, int] = (8, 8)) -> Image.Image:
    return Image.new(mode, size, color)


def all_near(color: tuple[int, int, int], tolerance: int = 0) -> Callable[..., bool]:
    return lambda pixels: bool((abs(pixels.astype(int) - color) <= tolerance).all())


def chunk(kind: bytes, body: bytes, error: int = 0) -> bytes:
    """A chunk of a PNG; its checksum is wrong if `error` is not 0."""
    checksum = struct.pack(">I", zlib.crc32(kind + body) ^ error)
    return struct.pack(">I", len(body)) + kind + body + checksum


def with_chunk(added: bytes, before: bytes) -> bytes:
    """A red PNG with a chunk more, in front of one of its own."""
    data = encoded(of(RED), "PNG")
    at = data.index(before) - 4
    return data[:at] + added + data[at:]


def many_scans() -> bytes:
    """A JPEG whose last scan is there 200 times."""
    data = jpeg(progressive=True)
    last = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + 199 * last + data[-2:]


def palette() -> bytes:
    image = of(1, "P")
    image.putpalette([0, 0, 0, *RED])
    return encoded(image, "PNG")


def sixteen() -> bytes:
    values = np.array([[0, 257, 128 * 257, 65535]], dtype=np.uint16)
    return encoded(Image.fromarray(values), "PNG")


def turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    image = of(GREEN, size=(40, 20))
    image.paste(RED, (0, 0, 20, 20))
    return encoded(image, "PNG", exif=exif)


def animated(format: str) -> bytes:
    frames = [of(RED), of(GREEN)]
    options = {"lossless": True} if format == "WEBP" else {}
    return encoded(frames[0], format, save_all=True, append_images=frames[1:], **options)


def with_profile() -> bytes:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    return encoded(of(RED), "PNG", icc_profile=profile)


def corrupt() -> bytes:
    data = bytearray(jpeg())
    at = data.index(b"\xff\xc4")  # the first of the tables for Huffman's code
    data[at + 5 : at + 21] = b"\xff" * 16
    return bytes(data)


BOMB = b"key\0\0" + zlib.compress(bytes(3_000_000))
BROKEN_TEXT: dict[str, Callable[[], bytes]] = {
    "a wrong checksum": lambda: with_chunk(chunk(b"tEXt", b"key\0text", error=1), b"IDAT"),
    "unpacks to too much": lambda: with_chunk(chunk(b"zTXt", BOMB), b"IDAT"),
    "unpacks to too much, behind the pixels": lambda: with_chunk(chunk(b"zTXt", BOMB), b"IEND"),
    "bytes that do not unpack": lambda: with_chunk(
        chunk(b"iTXt", b"key\0\1\0\0\0no zlib", error=1), b"IDAT"
    ),
}
IMAGES = [
    Awkward("zero bytes", REFUSED, "empty file", lambda: b""),
    Awkward("an HTML page", REFUSED, "not an image", lambda: PAGE),
    Awkward(
        "a format that is a program (PostScript)", REFUSED, "not an image",
        lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    ),
    Awkward("a truncated JPEG", REFUSED, "truncated", lambda: jpeg()[:-500]),
    Awkward("a corrupt JPEG", REFUSED, "corrupt", corrupt),
    Awkward("a truncated PNG", REFUSED, "truncated", lambda: image_file(9)[:-500]),
    Awkward(
        "30,000 by 30,000 pixels (a decompression bomb)", REFUSED, "too many pixels",
        lambda: claimed(30_000, 30_000),
    ),
    Awkward(
        "60,000,000 by 1 pixels", REFUSED, "side too long", lambda: claimed(60_000_000, 1),
    ),
    Awkward(
        "a JPEG whose last scan is repeated 200 times", REFUSED, "too many scans", many_scans,
    ),
    Awkward(
        "floating-point pixels", REFUSED, "unsupported pixel type",
        lambda: encoded(of(0.5, "F"), "TIFF"),
    ),
    Awkward(
        "1 by 1 pixel", HANDLED, "read as it is", lambda: encoded(of(RED, size=(1, 1)), "PNG"),
        lambda pixels: pixels.tolist() == [[list(RED)]],
    ),
    *(
        Awkward(
            f"a {format} named `.jpg`", HANDLED, "read by its content, not its name",
            lambda format=format: encoded(
                of(RED), format, **({"lossless": True} if format == "WEBP" else {})
            ),
            all_near(RED),
        )
        for format in ("PNG", "WEBP", "BMP", "GIF", "TIFF")
    ),
    Awkward(
        "greyscale", HANDLED, "repeated over the three channels",
        lambda: encoded(of(77, "L"), "JPEG"), all_near((77, 77, 77)),
    ),
    Awkward(
        "CMYK", HANDLED, "converted to RGB without colour management",
        lambda: encoded(of((0, 255, 255, 0), "CMYK"), "JPEG", quality=100),
        all_near((255, 0, 0), 3),
    ),
    Awkward("a palette", HANDLED, "looked up", palette, all_near(RED)),
    Awkward(
        "16-bit grey", HANDLED, "scaled to 8 bits, not clipped", sixteen,
        lambda pixels: pixels[0, :, 1].tolist() == [0, 1, 128, 255],
    ),
    Awkward(
        "an alpha channel", HANDLED, "laid over white",
        lambda: encoded(of((*RED, 0), "RGBA"), "PNG"), all_near((255, 255, 255)),
    ),
    Awkward(
        "grey with alpha", HANDLED, "laid over white",
        lambda: encoded(of((0, 128), "LA"), "PNG"), all_near((127, 127, 127)),
    ),
    *(
        Awkward(
            f"a PNG with broken text ({what})", HANDLED, "read without its text", make,
            all_near(RED),
        )
        for what, make in BROKEN_TEXT.items()
    ),
    Awkward(
        "turned by EXIF", HANDLED, "turned upright", turned,
        lambda pixels: pixels.shape == (40, 20, 3)
        and tuple(pixels[5, 5]) == RED and tuple(pixels[35, 5]) == GREEN,
    ),
    *(
        Awkward(
            f"an animated {format}", HANDLED, "the first frame",
            lambda format=format: animated(format), all_near(RED),
        )
        for format in ("GIF", "WEBP", "PNG")
    ),
    Awkward(
        "a colour profile", HANDLED, "ignored; the numbers are taken as they are", with_profile,
        all_near(RED),
    ),
    Awkward(
        "a progressive JPEG", HANDLED, "read as any JPEG", lambda: jpeg(progressive=True),
        lambda pixels: pixels.shape == (48, 64, 3),
    ),
]  # fmt: skip
