"""What can be wrong with a zip or a folder as a container of files."""

import os
import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

from tests.support.faults.cases import ERROR, HANDLED, PAGE, REFUSED, Case
from tests.support.making import image_file, split_files, write, zip_bytes, zipped


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


def with_comment(comment: bytes) -> Callable[[Path], Path]:
    def make(place: Path) -> Path:
        path = archive({})(place)
        with zipfile.ZipFile(path, "a") as file:
            file.comment = comment
        return path

    return make


def counted(place: Path) -> Path:
    """A zip whose end record states one file."""
    path = archive({})(place)
    data = bytearray(path.read_bytes())
    end = data.rindex(b"PK\x05\x06")
    data[end + 8 : end + 12] = struct.pack("<HH", 1, 1)
    path.write_bytes(data)
    return path


def linked(name: str, target: str) -> Callable[[Path], Path]:
    """A folder with one file more, a link to a place next to the folder, or anywhere."""

    def make(place: Path) -> Path:
        write(place, {"other/a.png": image_file(95), "other/face.png": image_file(96)})
        os.mkfifo(place / "pipe")
        path = write(place / "data", split_files())
        (path / name).symlink_to(place / target)
        return path

    return make


def pipe(place: Path) -> Path:
    path = write(place, split_files())
    os.mkfifo(path / "train/real/x.png")
    return path


def not_listed(place: Path) -> Path:
    """Folders in folders, until the path to the last is longer than the system reads."""
    path = write(place, split_files())
    at = os.open(path / "train/real", os.O_RDONLY)
    for _ in range(20):
        os.mkdir("d" * 250, dir_fd=at)
        below = os.open("d" * 250, os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = below
    os.close(at)
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
        "a name that is written from right to left (U+202E)", REFUSED, ("unsafe name",),
        archive({"train/real/\u202egpj.png": image_file(90)}),
    ),
    Case(
        "a name with a line separator (U+2028)", REFUSED, ("unsafe name",),
        archive({"train/real/a\u2028b.png": image_file(90)}), "Shown as `a\\u2028b.png`.",
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
        "an end that counts 1 of 24 files", ERROR,
        ("is not a zip that can be read", "its end states 1 files, and its list has 24"), counted,
    ),
    Case(
        "a comment that holds the mark of an end (`PK\\5\\6`)", HANDLED, (),
        with_comment(b"PK\x05\x06 and more than the length of an end record"), "Read.",
    ),
    Case(
        "a comment that is a whole end", ERROR,
        ("is not a zip that can be read", "its end can be read in two ways"),
        with_comment(b"PK\x05\x06" + bytes(18)),
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
        "a folder in it that cannot be listed", ERROR,
        ("the folder train/real/ddd", "cannot be listed: File name too long"), not_listed,
    ),
    Case("a pipe in a folder", REFUSED, ("link or special file",), pipe),
    Case(
        "a link to a pipe", REFUSED, ("link or special file",),
        linked("train/real/x.png", "pipe"),
    ),
    Case(
        "a link to what never ends", REFUSED, ("link or special file",),
        linked("train/real/x.png", "/dev/zero"),
    ),
    Case(
        "a link to a file outside the folder", REFUSED, ("link out of the folder",),
        linked("train/real/x.png", "other/face.png"),
        "Links inside the folder, and to files of a DVC cache, are followed.",
    ),
    Case(
        "a link to a folder outside", ERROR,
        ("the folder train/real/more is a link out of it", "name it in data.folder.path"),
        linked("train/real/more", "other"),
    ),
    Case(
        "a link that leads nowhere", REFUSED, ("cannot be read from disk",),
        linked("train/real/more", "nowhere"), "It may have been a folder of images.",
    ),
    Case(
        "a zip inside", HANDLED, (), archive({"train/real/more.zip": zip_bytes(split_files())}),
        "Passed over, and counted as no image by its name.",
    ),
]  # fmt: skip
