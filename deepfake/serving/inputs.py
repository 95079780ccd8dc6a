"""The image files that a command line names: in folders, zips, Parquet tables, at addresses.

Everything is listed before anything is read, so that a mistyped path is told at once.
"""

import glob
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from deepfake.common.errors import PipelineError
from deepfake.common.files import read_regular
from deepfake.common.text import shown
from deepfake.data.images import SUFFIXES
from deepfake.serving import addresses, tables, zips
from deepfake.serving.detector import MOST_BYTES, NOT_REGULAR, TOO_LARGE
from deepfake.serving.places import Place, Refused, ZipMember

STANDARD_INPUT = "-"
OUTSIDE = "link out of the folder"
_JUNK = {"thumbs.db", "desktop.ini", "__macosx"}  # what Windows and macOS add by themselves


@dataclass(frozen=True, slots=True)
class File:
    """A file to score or to look at.

    Attributes:
        name: its path as it was given, or found below what was given: `faces/a.jpg`,
            `faces.zip/real/b.jpg`, `s3://bucket/faces/c.jpg`; "standard input".
        path: where it is on this disk; None for standard input, or if it has a `place`.
        place: where else it is.
        refused: why it is not read; else None.
    """

    name: str
    path: str | None = None
    place: Place | None = None
    refused: str | None = None

    def read(self) -> bytes:
        """Return the bytes of the file.

        Raises:
            Refused: it cannot be read, or is too large.
        """
        if self.refused is not None:
            raise Refused(self.refused)
        if self.place is not None:
            return _at_most(self.place.content())
        return _standard_input() if self.path is None else _content(self.path)

    @property
    def on_disk(self) -> str | None:
        """The file on this disk that the bytes are in, be it a zip or a table; else None."""
        if isinstance(self.place, ZipMember | tables.TableRow):
            return None if "://" in self.place.path else self.place.path
        return self.path

    @property
    def is_standard_input(self) -> bool:
        return self.path is None and self.place is None and self.refused is None


@dataclass
class Inputs:
    """What a command line names.

    Attributes:
        files: in the order given; those of a folder or zip by name, of a table by row.
        others: how many files of folders and zips were passed over, whose names are not those of
            images.
        example: the name of one of these.
    """

    files: list[File] = field(default_factory=list)
    others: int = 0
    example: str = ""

    def pass_over(self, name: str) -> None:
        """Count a file that is not read."""
        self.others += 1
        self.example = self.example or name

    def passed_over(self) -> str:
        """A sentence about the files that were passed over; empty if there are none."""
        if not self.others:
            return ""
        what = "file was" if self.others == 1 else "files were"
        return (
            f"{self.others:,} other {what} passed over, such as {shown(self.example)}: neither "
            "named as an image nor a table of images"
        )


def find(paths: Iterable[str]) -> Inputs:
    """List the files that are named.

    A file is listed once, also if several paths lead to it by the same name.

    Args:
        paths: of files, folders (with all below them), zips and Parquet tables; addresses of
            folders, files and tables; patterns such as `faces/*.jpg`; `-` for one image on standard
            input.

    Raises:
        PipelineError: there is no such path, a server does not answer, a table has no images, or
            there is no image at all.
    """
    # The shell of macOS does not know ~ behind an equals sign, as in `make score DATA=~/faces`.
    paths = [path if "://" in path else os.path.expanduser(path) for path in paths]
    found = Inputs()
    names: set[str] = set()
    for path in paths:
        for file in _named(path, found):
            if file.name not in names or file.refused == zips.REPEATED:
                names.add(file.name)
                found.files.append(file)
    if not found.files:
        where = ", ".join(shown(path) for path in paths[:3]) + (", ..." if len(paths) > 3 else "")
        note = found.passed_over() or f"files that end in {', '.join(SUFFIXES)} count"
        raise PipelineError(f"no images found in {where}: {note}")
    return found


def _named(path: str, found: Inputs) -> Iterator[File]:
    """The files that one path of the command line names."""
    if path == STANDARD_INPUT:
        yield File("standard input")
    elif "://" in path:
        yield from _remote(path.rstrip("/"), found)
    elif os.path.lexists(path):
        yield from _at(path, found)
    elif matches := sorted(glob.glob(path, recursive=True)):
        for match in matches:
            yield from _at(match, found)
    else:
        what = "no file matches" if glob.has_magic(path) else "there is no file or folder"
        raise PipelineError(f"{what} {shown(path)}; give the path from {Path.cwd()} or from /")


def _at(path: str, found: Inputs) -> Iterator[File]:
    if os.path.isdir(path):
        yield from _below(path, found)
    elif path.lower().endswith(".zip") and os.path.isfile(path):
        yield from _zipped(path, found)
    elif path.lower().endswith(tables.SUFFIX) and os.path.isfile(path):
        yield from _table(path)
    else:
        yield File(path, path)


def _remote(address: str, found: Inputs) -> Iterator[File]:
    """The files at an address, folder by folder."""
    for name, size in addresses.listed(address):
        full = f"{address}/{name}" if name else address
        if full.lower().endswith(".zip"):
            yield File(full, refused="a zip at an address; download it and name it")
        elif full.lower().endswith(tables.SUFFIX):
            from deepfake.sources.remote import is_plain  # needs what an address needs

            if is_plain(full):
                yield from _table(full, found if name else None)
            else:
                yield File(full, refused="a space, @, ? or # in the address of a table")
        elif not name or _has_image_name(full, found):
            too_large = TOO_LARGE if size > MOST_BYTES else None
            yield File(full, place=addresses.RemoteFile(address, name, size), refused=too_large)


def _table(path: str, found: Inputs | None = None) -> Iterator[File]:
    """The rows of a Parquet table; a table that cannot be read is one file, refused.

    Args:
        path: of the table.
        found: where a table of other things is counted, which nobody named; None: it is an error.
    """
    try:
        for name, row in tables.rows(path):
            yield File(f"{path}/{name}", place=row)
    except Refused as error:
        yield File(path, refused=str(error))
    except tables.NoImages:
        if found is None:
            raise
        found.pass_over(path)


def _below(folder: str, found: Inputs) -> Iterator[File]:
    """The files of a folder and of all folders below it, by name; links to folders are left."""
    root = os.path.realpath(folder)
    unlisted: list[OSError] = []
    for here, folders, names in os.walk(folder, onerror=unlisted.append):
        folders[:] = sorted(name for name in folders if not _is_junk(name))
        for name in folders:
            path = os.path.join(here, name)
            if os.path.islink(path) and not _within(path, root):
                yield File(path, path, refused=OUTSIDE)
        for name in sorted(names):
            path = os.path.join(here, name)
            leaves = os.path.islink(path) and not _within(path, root)
            if _is_junk(name):
                continue
            if name.lower().endswith(tables.SUFFIX) and not leaves:
                yield from _table(path, found)
            elif _has_image_name(path, found):
                yield File(path, path, refused=OUTSIDE if leaves else None)
    for error in unlisted:
        yield File(error.filename, refused=f"folder cannot be listed: {error.strerror}")


def _zipped(path: str, found: Inputs) -> Iterator[File]:
    """The files of a zip, by name; a zip that cannot be read is one file, refused."""
    try:
        members = zips.members(path)
    except zips.DAMAGED as error:
        yield File(path, path, refused=f"not a zip that can be read: {shown(str(error))}")
        return
    for member, refused in members:
        name = f"{path}/{member.filename}"
        if member.is_dir() or any(map(_is_junk, member.filename.split("/"))):
            continue
        if name.lower().endswith(".zip"):
            yield File(name, path, refused="a zip in a zip; unpack it and name it")
        elif _has_image_name(name, found):
            too_large = TOO_LARGE if member.file_size > MOST_BYTES else None
            yield File(name, place=ZipMember(path, member), refused=refused or too_large)


def _has_image_name(path: str, found: Inputs) -> bool:
    if path.lower().endswith(SUFFIXES):
        return True
    found.pass_over(path)
    return False


def _is_junk(name: str) -> bool:
    hidden = name.startswith(".") and name not in (".", "..")
    return hidden or name.lower() in _JUNK


def _within(path: str, root: str) -> bool:
    return Path(os.path.realpath(path)).is_relative_to(root)


def _content(path: str) -> bytes:
    try:
        data = read_regular(path, MOST_BYTES + 1)
    except OSError as error:
        raise Refused(f"cannot be read: {error.strerror}") from None
    if data is None:
        raise Refused(NOT_REGULAR)
    return _at_most(data)


@cache
def _standard_input() -> bytes:
    """Read once; a report or an explanation asks for it again."""
    return _at_most(sys.stdin.buffer.read(MOST_BYTES + 1))


def _at_most(data: bytes) -> bytes:
    if len(data) > MOST_BYTES:
        raise Refused(TOO_LARGE)
    return data
