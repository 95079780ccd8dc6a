"""The files of a directory or a zip, by path, and which names are safe to pass on."""

import unicodedata
import zipfile
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from deepfake.common.text import printable

_JUNK_FOLDERS = {"__macosx"}
_JUNK_FILES = {"thumbs.db", "desktop.ini"}
# The numbers of a member and their array types: 64, 32, 16 and 8 bits.
_COLUMNS = {
    "size": "Q", "offset": "Q", "packed": "Q", "checksum": "I", "flags": "H", "method": "B",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Member:
    """A file of an archive.

    Attributes:
        path: with forward slashes, in Unicode NFC.
        size: bytes of its content.
        checksum: CRC-32 of its content; None in a directory.
        name: the path as the directory or the zip spells it.
        offset: position of its header in the zip.
        packed: bytes that it takes in the zip.
        method: compression method of the zip format.
        flags: general purpose flags of the zip format.
    """

    path: str
    size: int
    checksum: int | None
    name: str
    offset: int = 0
    packed: int = 0
    method: int = zipfile.ZIP_STORED
    flags: int = 0


class Members(Mapping[str, Member]):
    """Members by path, in sorted order. Besides its path, each takes about 30 bytes.

    Args:
        members: the files; their paths may repeat.

    Attributes:
        ambiguous: paths that several files share; none of those files is a member.
    """

    def __init__(self, members: Iterable[Member]) -> None:
        columns = {name: array(kind) for name, kind in _COLUMNS.items()}
        paths: list[str] = []
        self._spelled: dict[str, str] = {}
        self._without_checksum = False
        for member in members:
            paths.append(member.path)
            for name, column in columns.items():
                column.append(getattr(member, name) or 0)
            self._without_checksum = member.checksum is None
            if member.name != member.path:
                self._spelled[member.path] = member.name
        paths = _copied(paths)
        order = sorted(range(len(paths)), key=paths.__getitem__)
        neighbours = pairwise(paths[number] for number in order)
        self.ambiguous = {path for path, following in neighbours if path == following}
        order = [number for number in order if paths[number] not in self.ambiguous]
        self._paths = [paths[number] for number in order]
        self._columns = {
            name: array(column.typecode, (column[number] for number in order))
            for name, column in columns.items()
        }

    def __getitem__(self, path: str) -> Member:
        number = bisect_left(self._paths, path)
        if number == len(self._paths) or self._paths[number] != path:
            raise KeyError(path)
        values: dict[str, Any] = {name: column[number] for name, column in self._columns.items()}
        if self._without_checksum:
            values["checksum"] = None
        return Member(self._paths[number], name=self._spelled.get(path, path), **values)

    def __iter__(self) -> Iterator[str]:
        return iter(self._paths)

    def __len__(self) -> int:
        return len(self._paths)

    @property
    def bytes(self) -> int:
        """Size of all members together."""
        return sum(self._columns["size"])


def _copied(paths: list[str]) -> list[str]:
    """Copy `paths` to memory of their own, and empty `paths`.

    While a zip was listed, its paths were stored between the larger objects that `zipfile` makes
    of its list. Left there, they would keep that memory from going back to the system when those
    objects are deleted: 40 MB of 236 at 140,000 small files.
    """
    text = "\0".join(paths)  # no safe path has a NUL
    count = len(paths)
    paths.clear()
    return text.split("\0") if count else []


def is_junk(name: str) -> bool:
    """Whether a file is hidden, or one that macOS or Windows add by themselves."""
    parts = [part for part in name.split("/") if part not in ("", ".", "..")]
    if any(part.lower() in _JUNK_FOLDERS or part.startswith(".") for part in parts):
        return True
    return bool(parts) and parts[-1].lower() in _JUNK_FILES


def is_safe(name: str) -> bool:
    """Whether a name is relative, stays inside, and is plain UTF-8 text."""
    parts = name.split("/")
    if name.startswith("/") or ".." in parts or ":" in parts[0] or not canonical(name):
        return False
    return printable(name) == name


def canonical(name: str) -> str:
    """`name` without empty parts and `.`, in Unicode NFC."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    return unicodedata.normalize("NFC", "/".join(parts))
