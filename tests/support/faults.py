"""What can be wrong with a source, how to provoke it, and what the pipeline does.

There is one list: the tests run every fault in it, and `make docs` writes it into docs/ingest.md.
"""

import io
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from deepfake.sources.portraits.render import render
from tests.support.kaggle_server import DOWNLOAD, FILES, INTROSPECT, Fault, KaggleServer
from tests.support.making import encoded, image_file, noise, split_files, write, zip_bytes, zipped

ERROR, REFUSED, WARNING, HANDLED = "error", "file refused", "warning", "handled"
PAGE = b"<!DOCTYPE html><html><body>Please sign in</body></html>"
RED, GREEN = (254, 0, 0), (0, 128, 1)


@dataclass(frozen=True)
class Case:
    """A fault of a folder or an archive.

    Attributes:
        name: the fault, as the documentation calls it.
        outcome: one of the four above.
        says: parts of the message, in order; for a refused file, its one reason.
        make: makes the source in an existing empty folder, and returns its path.
        note: what happens, if there is no message.
        parameters: changes to the parameters of the tests, by their last name.
        files: how many images are refused.
    """

    name: str
    outcome: str
    says: tuple[str, ...]
    make: Callable[[Path], Path]
    note: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)
    files: int = 1


@dataclass(frozen=True)
class Awkward:
    """An image file that is called `face.jpg`.

    Attributes:
        outcome: HANDLED or REFUSED.
        says: the reason for refusing it, or how it is read.
        make: its bytes.
        right: whether the decoded pixels, uint8 RGB (height, width, 3), are correct.
    """

    name: str
    outcome: str
    says: str
    make: Callable[[], bytes]
    right: Callable[[NDArray[np.uint8]], bool] = lambda pixels: True


@dataclass(frozen=True)
class Trouble:
    """A fault between this machine and Kaggle.

    Attributes:
        make: tells a server what to do wrong; it has the archive of version 2.
        requests: how many download requests are made.
        seconds: how long the run takes at least.
        downloaded_before: whether the version was downloaded once, and its archive removed since.
        environment: variables to change.
    """

    name: str
    outcome: str
    says: tuple[str, ...]
    make: Callable[[KaggleServer], Any]
    note: str = ""
    requests: int | None = None
    seconds: float = 0.0
    downloaded_before: bool = False
    environment: dict[str, str] = field(default_factory=dict)


# ---- archives


def folder(files: dict[str, bytes]) -> Callable[[Path], Path]:
    return lambda place: write(place, files)


def archive(
    more: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED, above: str = ""
) -> Callable[[Path], Path]:
    """A zip of good images and some more files."""
    files = {above + name: data for name, data in split_files().items()} | more
    return lambda place: zipped(place / "data.zip", files, method)


def patched(name: str, change: Callable[[bytearray, int], None]) -> Callable[[Path], Path]:
    """The zip of `archive` with one file more, whose entry in the list of files is changed."""

    def make(place: Path) -> Path:
        path = archive({name: image_file(99)})(place)
        data = bytearray(path.read_bytes())
        change(data, data.rindex(b"PK\x01\x02", 0, data.rindex(name.encode())))
        path.write_bytes(data)
        return path

    return make


def _encrypt(data: bytearray, entry: int) -> None:
    data[entry + 8] |= 1


def _deflate64(data: bytearray, entry: int) -> None:
    data[entry + 10 : entry + 12] = struct.pack("<H", 9)


def _link(data: bytearray, entry: int) -> None:
    data[entry + 5] = 3  # made on Unix
    data[entry + 38 : entry + 42] = struct.pack("<I", (stat.S_IFLNK | 0o777) << 16)


def _wrong_sum(data: bytearray, entry: int) -> None:
    data[entry + 16] ^= 1


def twice(place: Path) -> Path:
    path = archive({})(place)
    with zipfile.ZipFile(path, "a") as file:
        file.writestr("train/real/twice.png", image_file(97))
        file.writestr("./train/real/twice.png", image_file(98))
    return path


def with_one_by(method: int) -> Callable[[Path], Path]:
    def make(place: Path) -> Path:
        path = archive({})(place)
        with zipfile.ZipFile(path, "a", method) as file:
            file.writestr("train/real/x.png", image_file(96))
        return path

    return make


def lying_bomb(place: Path) -> Path:
    """A file that says 100 kB and unpacks to 100 MB."""
    path = archive({})(place)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as file:
        file.writestr("train/real/bomb.png", b"\0" * 100_000_000)
    data = bytearray(path.read_bytes())
    size = struct.pack("<I", 100_000_000)
    while (at := data.find(size)) >= 0:
        data[at : at + 4] = struct.pack("<I", 100_000)
    path.write_bytes(data)
    return path


def cut_zip(place: Path) -> Path:
    path = archive({})(place)
    path.write_bytes(path.read_bytes()[:-1000])
    return path


def page(place: Path) -> Path:
    (place / "data.zip").write_bytes(PAGE)
    return place / "data.zip"


ZEROS = {"train/real/bomb.png": b"\0" * 5_000_000}
ARCHIVES = [
    Case("a name with `..`", REFUSED, ("unsafe name",), archive({"../../up.png": image_file(90)})),
    Case("an absolute name", REFUSED, ("unsafe name",), archive({"/etc/a.png": image_file(90)})),
    Case("a name with a drive", REFUSED, ("unsafe name",), archive({"C:\\a.png": image_file(90)})),
    Case(
        "control characters in a name", REFUSED, ("unsafe name",),
        archive({"train/real/a\n\x1b[2J.png": image_file(90)}),
    ),
    Case(
        "a symbolic link", REFUSED, ("link or special file",),
        patched("train/real/link.png", _link),
    ),
    Case("a name used twice", REFUSED, ("name used twice",), twice, "Neither of the two is used."),
    Case(
        "an encrypted file", REFUSED, ("encrypted",), patched("train/real/secret.png", _encrypt)
    ),
    Case(
        "another compression method (Deflate64)", REFUSED, ("unsupported compression",),
        patched("train/real/x.png", _deflate64),
    ),
    Case(
        "bzip2 compression", REFUSED, ("unsupported compression",), with_one_by(zipfile.ZIP_BZIP2),
        "It cannot be unpacked within bounds.",
    ),
    Case("LZMA compression", REFUSED, ("unsupported compression",), with_one_by(zipfile.ZIP_LZMA)),
    Case(
        "a zip bomb: a file of high ratio", REFUSED, ("compressed too much",), archive(ZEROS),
        "`data.archive.max_ratio` is the limit, for files of more than 1 MB.",
    ),
    Case(
        "a zip bomb: a large total", ERROR,
        ("would unpack to", "data.archive.max_gigabytes allows 0.004"),
        archive(ZEROS), parameters={"max_gigabytes": 0.004, "max_ratio": 1e6},
    ),
    Case(
        "a zip bomb that lies about its size", REFUSED, ("damaged in the archive",), lying_bomb,
        "Never more is unpacked than the zip says.", {"max_ratio": 1e6},
    ),
    Case(
        "too many files", ERROR, ("lists more than 20 files", "data.archive.max_files"),
        archive({}), parameters={"max_files": 20},
    ),
    Case(
        "a file above 64 MB", REFUSED, ("file too large",),
        archive({"train/real/big.png": b"\0" * 64_000_001}), parameters={"max_ratio": 1e6},
    ),
    Case(
        "a truncated zip", ERROR, ("is not a zip that can be read", "check that it is complete"),
        cut_zip,
    ),
    Case(
        "an HTML page instead of a zip", ERROR,
        ("is not a zip that can be read", f"It has {len(PAGE)} bytes"), page,
    ),
    Case(
        "a wrong checksum (CRC) of a file", REFUSED, ("damaged in the archive",),
        patched("train/real/x.png", _wrong_sum),
    ),
    Case(
        "names that are not ASCII", HANDLED, (),
        archive({"train/real/Zoë.png": image_file(90), "train/fake/名前.png": image_file(91)}),
        "Names are kept, in Unicode's form NFC.",
    ),
    Case(
        "files that macOS and Windows add", HANDLED, (),
        archive({
            "__MACOSX/train/real/0.png": b"x", "train/real/.DS_Store": b"x",
            "train/fake/Thumbs.db": b"x", "train/fake/._1.png": b"x",
        }),
        "Skipped.",
    ),
    Case(
        "folders above the known layout", HANDLED, (), archive({}, above="a/Downloads (1)/faces/"),
        "The deepest folder that names a split or a class counts.",
    ),
    Case(
        "upper and lower case", HANDLED, (),
        folder({k.upper(): data for k, data in split_files().items()}), "Case does not matter.",
    ),
    Case(
        "a zip inside", HANDLED, (), archive({"train/real/more.zip": zip_bytes(split_files())}),
        "Passed over, and counted as no image by its name.",
    ),
]  # fmt: skip


# ---- images


def jpeg(**options: Any) -> bytes:
    return encoded(noise(5, 64, 48), "JPEG", **options)


def claimed(width: int, height: int) -> bytes:
    """A PNG of this size, all black; only as large as its compressed rows."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + checksum

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


# ---- data sets

GOOD = split_files()
FLAT = {name.split("/", 1)[1].replace("/", f"/{name[:2]}"): data for name, data in GOOD.items()}


def table(*rows: str, header: str = "path,label") -> dict[str, bytes]:
    """Eight images outside class folders and a CSV; `rows` come after those that name them."""
    names = [f"{split}/{n}.png" for split in ("train", "valid", "test") for n in range(4)]
    lines = [header, *(f"{name},{('real', 'fake')[i % 2]}" for i, name in enumerate(names)), *rows]
    files = {name: image_file(200 + i) for i, name in enumerate(names)}
    return {**files, "t.csv": "\n".join(lines).encode()}


def near_duplicate() -> dict[str, bytes]:
    """An image of test at half its size in train, and another one of valid compressed again."""
    one, other = (
        Image.open(io.BytesIO(render(label=0, seed=1, index=i, size=192, strength=1.0)))
        for i in range(2)
    )
    return GOOD | {
        "test/real/a.png": encoded(one, "PNG"),
        "train/real/like_a.png": encoded(one.resize((96, 96)), "PNG"),
        "valid/fake/b.png": encoded(other, "PNG"),
        "train/fake/like_b.jpg": encoded(other, "JPEG", quality=40),
    }


def huge(place: Path) -> Path:
    """A file of 100 terabytes, nearly all of it a hole."""
    write(place, GOOD)
    size = 100_000_000_000_000
    while True:
        try:
            os.truncate(place / "train/real/0.png", size)
        except OSError:  # more than this file system can hold in one file
            size //= 2
        else:
            return place


def without(*parts: str) -> dict[str, bytes]:
    return {name: data for name, data in GOOD.items() if not any(part in name for part in parts)}


BY_TABLE = {"file": "t.csv"}
DATA_SETS = [
    Case("no such folder", ERROR, ("no such directory or zip",), lambda place: place / "nowhere"),
    Case("no images", ERROR, ("no images found in",), folder({"a/readme.txt": b"x"})),
    Case(
        "an empty class", ERROR, ("no fake images in train", "All three splits need both"),
        folder(without("/fake/")),
    ),
    Case(
        "one class only, no splits", ERROR, ("no real images in train", "found: train 0 real"),
        folder({name: data for name, data in FLAT.items() if name.startswith("fake")}),
    ),
    Case(
        "a split missing", ERROR, ("no real images in valid; no fake images in valid",),
        folder(without("valid/")),
    ),
    Case(
        "images outside the splits", ERROR,
        ("1 of 25 images are in none of the split folders",),
        folder(GOOD | {"real/1.png": image_file(90)}),
    ),
    Case(
        "images outside the classes", ERROR, ("no class for 1 of 25 images: train/1.png",),
        folder(GOOD | {"train/1.png": image_file(90)}),
    ),
    Case(
        "all images bad", ERROR,
        ("24 of 24 images cannot be used", "not an image: 24", "data.max_bad_fraction"),
        folder({name: PAGE + name.encode() for name in GOOD}), parameters={"max_bad_fraction": 0.9},
    ),
    Case(
        "all images of a class bad", ERROR,
        ("after unusable images were taken out", "no real images in test"),
        folder(GOOD | {name: b"x" for name in GOOD if name.startswith("test/real")}),
        parameters={"max_bad_fraction": 1.0},
    ),
    Case(
        "the table contradicts the folders", ERROR,
        ("contradict the class folders", "Check which label means fake"),
        folder(GOOD | {"t.csv": "\n".join(["path,label", *(
            f"{name},{'fake' if 'real' in name else 'real'}" for name in GOOD
        )]).encode()}),
        parameters=BY_TABLE,
    ),
    Case(
        "the table names files that are not there", ERROR,
        ("1 of 13 rows cannot be used", "line 14: 'train/x.png' names an image that is not there"),
        folder(table("train/x.png,real")), parameters=BY_TABLE,
    ),
    Case(
        "files that the table does not name", WARNING,
        ("no row names 1 of 13 images, which are left out: train/9.png",),
        folder(table() | {"train/9.png": image_file(99)}), parameters=BY_TABLE,
    ),
    Case(
        "a row twice", WARNING, ("1 of 13 rows name an image that an earlier row names as well",),
        folder(table("train/0.png,real")), parameters=BY_TABLE,
    ),
    Case(
        "rows that contradict each other", ERROR, ("'train/0.png' contradicts an earlier row",),
        folder(table("train/0.png,fake")), parameters=BY_TABLE,
    ),
    Case(
        "an id of several files", ERROR, ("'0.png' names test/0.png, train/0.png, valid/0.png",),
        folder(table("0.png,real")), parameters=BY_TABLE,
    ),
    Case(
        "an unknown label", ERROR,
        ("labels known are real: real; fake: fake", "'train/9.png' has the label '1'"),
        folder(table("train/9.png,1") | {"train/9.png": image_file(99)}), parameters=BY_TABLE,
    ),
    Case(
        "a table without the column", ERROR, ("has no column path", "its columns are: name, label"),
        folder(table(header="name,label")), parameters=BY_TABLE,
    ),
    Case(
        "a table that is not there", ERROR, ("u.csv is not there; tables found: t.csv",),
        folder(table()), parameters={"file": "u.csv"},
    ),
    Case(
        "a table that is not text", ERROR, ("cannot be read as a CSV",),
        folder(table() | {"t.csv": b"path,label\n\xff\xfe\x00,real\n"}), parameters=BY_TABLE,
    ),
    Case(
        "the same image under both labels", REFUSED, ("same image under both labels",),
        folder(GOOD | {"test/real/both.png": GOOD["test/fake/0.png"]}), files=2,
    ),
    Case(
        "the same image in two splits", WARNING,
        ("1 images are in a more important split as well", "left out", "train/real/copy.png"),
        folder(GOOD | {"train/real/copy.png": GOOD["test/real/0.png"]}),
    ),
    Case(
        "near-duplicates across splits", WARNING,
        ("2 images of train and 0 of valid look like", "like_a.png like test/real/a.png"),
        folder(near_duplicate()), "The pairs are in `data/metadata/summary.json`.",
    ),
    Case(
        "near-duplicates across splits, `data.near_duplicates.drop_from_train`", WARNING,
        ("2 of them were dropped from train",),
        folder(near_duplicate()), parameters={"drop_from_train": True},
    ),
    Case(
        "extreme imbalance", WARNING,
        ("train has 44 real and 4 fake images", "class_weight", "balanced"),
        folder(GOOD | {f"train/real/more{n}.png": image_file(400 + n) for n in range(40)}),
    ),
    Case("no room on the disk", ERROR, ("the images need", "MB are free: make room"), huge),
]  # fmt: skip


# ---- Kaggle


def faults(*items: Fault) -> Callable[[KaggleServer], None]:
    return lambda server: server.faults.extend(items)


def _other_bytes(server: KaggleServer) -> None:
    server.archives[KEY] = zip_bytes(split_files(3))


def _damaged(server: KaggleServer) -> None:
    body = bytearray(server.archives[KEY])
    body[len(body) // 2] ^= 255
    server.archives[KEY] = bytes(body)


def _bomb(server: KaggleServer) -> None:
    body = np.random.default_rng(0).bytes(1_000_000) + b"\0" * 30_000_000
    files = {f"train/real/{number}.png": body for number in range(2)}
    server.archives[KEY] = zip_bytes(files, zipfile.ZIP_DEFLATED)


KEY = ("some-one", "faces", 2)
WEB = {"body": PAGE, "content_type": "text/html"}
KAGGLE = [
    Trouble(
        "no credentials", ERROR, ("no Kaggle credentials", "https://www.kaggle.com/settings/api"),
        lambda server: None, environment={"KAGGLE_API_TOKEN": ""},
    ),
    Trouble(
        "credentials that Kaggle does not accept", ERROR, ("does not accept the credentials",),
        lambda server: None, environment={"KAGGLE_API_TOKEN": "KGAT_expired"},
    ),
    Trouble(
        "401", ERROR, ("status 401", "The credentials are not accepted"),
        faults(Fault(DOWNLOAD, status=401)), requests=1,
    ),
    Trouble(
        "403: terms not accepted", ERROR,
        ("status 403", "https://www.kaggle.com/datasets/some-one/faces and accept its terms"),
        faults(Fault(DOWNLOAD, status=403)), requests=1,
    ),
    Trouble(
        "404: no such data set or version", ERROR, ("status 404", "no such data set or version"),
        lambda server: server.archives.pop(KEY), requests=1,
    ),
    Trouble(
        "429 with Retry-After", HANDLED, (), faults(Fault(DOWNLOAD, status=429, retry_after=1)),
        "Waits as long as Kaggle asks (at most two minutes), then goes on.", requests=2,
        seconds=1,
    ),
    Trouble(
        "429 without end", ERROR, ("status 429", "wait some minutes and run again"),
        faults(*[Fault(DOWNLOAD, status=429)] * 5), requests=5,
    ),
    Trouble(
        "5xx", HANDLED, (), faults(Fault(DOWNLOAD, status=503), Fault(DOWNLOAD, status=500)),
        "Tries again, up to five times, after longer and longer waits.", requests=3,
    ),
    Trouble(
        "5xx while the token is checked", HANDLED, (), faults(Fault(INTROSPECT, status=503)),
        "The same.", requests=1,
    ),
    Trouble(
        "5xx without end", ERROR, ("status 502", "Run again when Kaggle can be reached"),
        faults(*[Fault(DOWNLOAD, status=502)] * 5), requests=5,
    ),
    Trouble(
        "a connection cut after N bytes", HANDLED, (),
        faults(Fault(FILES, cut_after=20_000), Fault(FILES, cut_after=5_000)),
        "Goes on where it broke off, in the same run or, after `kill -9`, in the next.",
    ),
    Trouble(
        "a connection cut without progress", ERROR,
        ("the connection to Kaggle failed", "The 0 bytes received so far are kept"),
        faults(*[Fault(FILES, cut_after=0)] * 10),
    ),
    Trouble(
        "a stalled connection", HANDLED, (), faults(Fault(FILES, stall_after=9_000, seconds=30)),
        "Given up after a minute without a byte, and resumed.",
    ),
    Trouble(
        "a wrong length, too long", HANDLED, (), faults(Fault(FILES, length=100_000_000)),
        "The file is not accepted as complete and is requested again.",
    ),
    Trouble(
        "a wrong length, too short", ERROR,
        ("what Kaggle sent is not a zip that can be read", "1000 bytes, deleted"),
        faults(*[Fault(FILES, length=1000)] * 10),
    ),
    Trouble(
        "other bytes under the same version", ERROR,
        ("is not the archive that was first downloaded as some-one/faces version 2", "SHA-256",
         "Results would not be comparable"),
        _other_bytes, "The record of the first download stays.", downloaded_before=True,
    ),
    Trouble(
        "an HTML page instead of a zip", ERROR,
        ("what Kaggle sent is not a zip that can be read", f"{len(PAGE)} bytes, deleted"),
        faults(*[Fault(FILES, **WEB)] * 3),
    ),
    Trouble(
        "a page of another network (a hotel's, say) for every answer", ERROR,
        ("the answer did not come from Kaggle", "sign-in"),
        faults(Fault(INTROSPECT, status=200, **WEB)),
    ),
    Trouble(
        "a damaged archive", ERROR,
        ("what Kaggle sent is not a zip that can be read", "checksum", "deleted"), _damaged,
    ),
    Trouble(
        "a zip bomb", ERROR, ("would unpack to 0.062 GB", "data.archive.max_gigabytes"), _bomb,
    ),
    Trouble(
        "no room on the disk", ERROR, ("needs 1000000000 MB more", "are free: make room"),
        faults(Fault(FILES, length=10**15)),
    ),
    Trouble(
        "Kaggle cannot be reached", ERROR,
        ("the connection to Kaggle failed", "Run again when Kaggle can be reached"),
        lambda server: server.close(),
    ),
]  # fmt: skip


# ---- the documentation

PAGE_OF_FAULTS = Path(__file__).parent.parent.parent / "docs" / "ingest.md"
BEGIN, END = "<!-- faults -->\n", "<!-- end -->\n"


def documented(page: str) -> str:
    """Return the page with its tables made from the lists above."""
    before, rest = page.split(BEGIN)
    after = rest.split(END)[1]
    sections = {
        "Kaggle": KAGGLE, "Archives": ARCHIVES, "Image files": IMAGES, "Data sets": DATA_SETS,
    }  # fmt: skip
    tables = [
        f"### {title}\n\n| fault | outcome | what is said, or happens |\n|---|---|---|\n"
        + "".join(f"| {case.name} | {case.outcome} | {_said(case)} |\n" for case in cases)
        for title, cases in sections.items()
    ]
    return f"{before}{BEGIN}\n" + "\n".join(tables) + f"\n{END}{after}"


def _said(case: Case | Awkward | Trouble) -> str:
    if isinstance(case, Awkward):
        return f"“{case.says}”" if case.outcome == REFUSED else case.says
    said = " … ".join(case.says).replace("|", "\\|")
    return " ".join(filter(None, [f"“{said}”" if said else "", case.note]))


if __name__ == "__main__":
    PAGE_OF_FAULTS.write_text(documented(PAGE_OF_FAULTS.read_text(encoding="utf-8")), "utf-8")
