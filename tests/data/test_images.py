"""Image files of every kind, made by Pillow: how they are decoded, or why they are refused."""

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from deepfake.data import images
from deepfake.data.images import BadImage, decode, facts

RED, GREEN, BLUE = (254, 0, 0), (0, 255, 1), (0, 0, 254)


def encode(image: Image.Image, format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def noise(width: int = 48, height: int = 32, mode: str = "RGB") -> Image.Image:
    shape = (height, width, len(mode))
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    return Image.fromarray(pixels.squeeze(), mode if len(mode) == 1 else None)


def reason(data: bytes) -> str:
    with pytest.raises(BadImage) as caught:
        decode(data)
    assert str(caught.value) == caught.value.reason
    return caught.value.reason


@pytest.mark.parametrize("format", ["PNG", "BMP", "TIFF", "WEBP"])
def test_lossless_formats_come_back_as_they_were(format: str) -> None:
    image = noise()
    options = {"lossless": True} if format == "WEBP" else {}
    pixels = decode(encode(image, format, **options))
    assert pixels.dtype == np.uint8
    assert pixels.shape == (32, 48, 3)
    assert np.array_equal(pixels, np.array(image))


def test_jpeg_is_decoded_as_pillow_does() -> None:
    data = encode(noise(), "JPEG", quality=90)
    assert np.array_equal(decode(data), np.array(Image.open(io.BytesIO(data))))


def test_grey_is_repeated_over_the_channels() -> None:
    grey = noise(mode="L")
    pixels = decode(encode(grey, "PNG"))
    assert all(np.array_equal(pixels[:, :, i], np.array(grey)) for i in range(3))


def test_black_and_white() -> None:
    image = Image.new("1", (3, 1))
    image.putpixel((1, 0), 1)
    assert decode(encode(image, "PNG"))[0, :, 0].tolist() == [0, 255, 0]


def test_sixteen_bit_grey_is_scaled_not_clipped() -> None:
    values = np.array([[0, 257, 128 * 257, 65535]], dtype=np.uint16)
    for format in ("PNG", "TIFF"):
        pixels = decode(encode(Image.fromarray(values), format))
        assert pixels[0, :, 1].tolist() == [0, 1, 128, 255]


def test_a_palette_is_looked_up() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([*RED, *BLUE])
    image.putpixel((1, 0), 1)
    for format in ("PNG", "GIF", "BMP"):
        assert decode(encode(image, format)).tolist() == [[list(RED), list(BLUE)]]


def test_transparency_lies_over_white() -> None:
    image = Image.new("RGBA", (3, 1), (0, 0, 0, 255))
    image.putpixel((1, 0), (0, 0, 0, 0))
    image.putpixel((2, 0), (0, 0, 0, 128))
    assert decode(encode(image, "PNG"))[0, :, 0].tolist() == [0, 255, 127]
    palette = Image.new("P", (1, 1))
    palette.putpalette([*RED])
    assert decode(encode(palette, "PNG", transparency=0)).tolist() == [[[255, 255, 255]]]


def test_cmyk_is_converted() -> None:
    data = encode(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG", quality=100)
    red, green, blue = decode(data)[8, 8].tolist()
    assert red > 240
    assert max(green, blue) < 15


def test_exif_orientation_is_applied() -> None:
    image = noise(width=40, height=20)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    pixels = decode(encode(image, "PNG", exif=exif))
    assert np.array_equal(pixels, np.rot90(np.array(image), -1))


@pytest.mark.parametrize("format", ["GIF", "PNG", "WEBP"])
def test_of_an_animation_the_first_frame_counts(format: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, GREEN, BLUE)]
    options = {"lossless": True} if format == "WEBP" else {}
    data = encode(frames[0], format, save_all=True, append_images=frames[1:], **options)
    assert decode(data)[0, 0].tolist() == list(RED)


def test_the_suffix_does_not_matter_the_bytes_do() -> None:
    assert decode(encode(Image.new("RGB", (1, 1), RED), "WEBP", lossless=True)).shape == (1, 1, 3)


def test_no_image_at_all() -> None:
    assert reason(b"") == "empty file"
    assert reason(b"<html><body>Not found</body></html>") == "not an image"
    assert reason(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n") == "not an image"


@pytest.mark.parametrize("format", ["JPEG", "PNG", "BMP", "TIFF", "WEBP"])
def test_half_a_file_is_bad(format: str) -> None:
    data = encode(noise(), format)
    assert reason(data[: len(data) // 2]) in {"truncated", "corrupt", "not an image"}


def test_a_truncated_jpeg_is_called_so() -> None:
    data = encode(noise(200, 200), "JPEG")
    assert reason(data[: len(data) // 2]) == "truncated"


def test_a_damaged_png_is_corrupt() -> None:
    data = bytearray(encode(noise(), "PNG"))
    data[data.index(b"IDAT") + 20] ^= 255
    assert reason(bytes(data)) == "corrupt"


@pytest.mark.filterwarnings("ignore")  # Pillow's own, of damaged TIFF and sizes
def test_bytes_of_any_kind_never_raise_anything_else() -> None:
    rng = np.random.default_rng(1)
    kinds = ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP")
    originals = [encode(noise(), format) for format in kinds]
    outcomes: set[str] = set()
    for number in range(600):
        data = bytearray(originals[number % len(originals)])
        for place in rng.integers(0, min(len(data), 400), 6):
            data[place] = rng.integers(0, 256)
        for use in (decode, facts):
            try:
                use(bytes(data))
                outcomes.add("read")
            except BadImage as error:
                outcomes.add(error.reason)
    assert {"read", "corrupt", "not an image"} <= outcomes <= set(images.REASONS) | {"read"}


def png_of_claimed_size(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + check

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 99)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize("size", [(30_000, 30_000), (8_001, 8_000)])
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_bomb_is_refused_by_its_header(size: tuple[int, int]) -> None:
    assert size[0] * size[1] > images.MAX_PIXELS
    assert reason(png_of_claimed_size(*size)) == "too many pixels"


def test_floating_point_pixels_are_refused() -> None:
    assert reason(encode(Image.new("F", (2, 2)), "TIFF")) == "unsupported pixel type"


@pytest.mark.parametrize("quality", [5, 30, 50, 75, 85, 90, 95, 100])
def test_jpeg_quality_is_read_from_the_tables(quality: int) -> None:
    assert facts(encode(noise(), "JPEG", quality=quality)).jpeg_quality == quality
    assert facts(encode(noise(mode="L"), "JPEG", quality=quality)).jpeg_quality == quality


@pytest.mark.parametrize(
    ("option", "name"), [("4:4:4", "4:4:4"), ("4:2:2", "4:2:2"), ("4:2:0", "4:2:0")]
)
def test_chroma_subsampling(option: str, name: str) -> None:
    assert facts(encode(noise(), "JPEG", subsampling=option)).subsampling == name


def test_facts_of_a_jpeg() -> None:
    data = encode(noise(), "JPEG", progressive=True, icc_profile=b"profile", exif=Image.Exif())
    found = facts(data)
    assert (found.format, found.mode, found.width, found.height) == ("JPEG", "RGB", 48, 32)
    assert found.bits_per_pixel == 8 * len(data) / (48 * 32)
    assert found.progressive
    assert found.has_icc
    assert not facts(encode(noise(), "JPEG")).progressive


def test_facts_of_others() -> None:
    exif = Image.Exif()
    exif[0x010F] = "a camera"
    found = facts(encode(noise(mode="L"), "PNG", exif=exif))
    assert (found.format, found.mode) == ("PNG", "L")
    assert (found.jpeg_quality, found.subsampling, found.progressive) == (None, "none", False)
    assert (found.has_exif, found.has_icc) == (True, False)
    assert facts(encode(noise(mode="L"), "JPEG")).subsampling == "none"


def test_facts_need_the_header_alone() -> None:
    data = encode(noise(200, 200), "JPEG", quality=80)
    assert facts(data[:1000]).jpeg_quality == 80
    with pytest.raises(BadImage):
        decode(data[:1000])
