"""One read-only view of a directory or a zip: list the files, read one.

A zip is read in place and never unpacked, so that no name in it can touch the disk. Names that
would be dangerous to anyone who did unpack it are refused all the same: the paths travel on into
tables that others read. What a zip claims of itself is believed only as far as it costs nothing:
`ArchiveParams` bounds how many files it may list and what they may unpack to.
"""

import os
import stat
import unicodedata
import zipfile
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from deepfake.common.errors import PipelineError
from deepfake.params import ArchiveParams
from deepfake.sources.base import Rejected, Unreadable
from deepfake.sources.zips import Listed, Zip

# No photograph of a face is larger; what claims to be is not read into memory.
MAX_FILE_BYTES = 64_000_000
# Below this a file may unpack to any multiple of its size: it can do no harm.
SMALL_BYTES = 1_000_000
# Of a zip's list of files, a file's part: 46 bytes, its name, and fields of rarely 100 bytes.
DIRECTORY_BYTES_A_FILE = 400
DAMAGED = "damaged in the archive"
_GIGABYTE = 1_000_000_000

_JUNK_FOLDERS = {"__macosx"}
_JUNK_FILES = {"thumbs.db", "desktop.ini"}
# Python unpacks bzip2 and LZMA without a bound: a few bytes can fill the memory.
_READABLE_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
# A zip's list of this size is read however few files may be in it.
_SMALL_LIST = 1 << 20
# The numbers of a member, by type: 64 bits, 32 bits, 8 bits.
_COLUMNS = {"size": "Q", "place": "Q", "packed": "Q", "checksum": "I", "method": "B"}
# Bits of a member's flags: encryption, encryption of another kind, a patch to another file.
_ENCRYPTED = 0x1 | 0x40
_PATCH = 0x20


class NotAZip(PipelineError):
    """A file that cannot be read as a zip; `fault` says why."""

    def __init__(self, path: Path, fault: str) -> None:
        super().__init__(
            f"{path} is not a zip that can be read: {fault}. It has {path.stat().st_size} bytes; "
            "check that it is complete, or give a directory."
        )
        self.fault = fault


@dataclass(frozen=True, slots=True)
class Member:
    """A file in the archive; `checksum` is its CRC-32 where the archive records it.

    `name` is the path as a directory spells it; `place`, `packed` and `method` are those of
    `zips.Listed`.
    """

    path: str
    size: int
    checksum: int | None
    name: str
    place: int = 0
    packed: int = 0
    method: int = zipfile.ZIP_STORED


class Members(Mapping[str, Member]):
    """Members by their path, sorted, in a few bytes each besides the path."""

    def __init__(self, members: Iterator[Member]) -> None:
        """Those of `members` whose path no other has; `ambiguous` has the other paths."""
        columns = {name: array(kind) for name, kind in _COLUMNS.items()}
        at: dict[str, int] = {}
        self.ambiguous: set[str] = set()
        self._spelled: dict[str, str] = {}
        for number, member in enumerate(members):
            if at.setdefault(member.path, number) != number:
                self.ambiguous.add(member.path)
            for name, column in columns.items():
                column.append(getattr(member, name) or 0)
            self._without_checksum = member.checksum is None
            if member.name != member.path:
                self._spelled[member.path] = member.name
        self._paths = sorted(path for path in at if path not in self.ambiguous)
        order = [at[path] for path in self._paths]
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
        """Of all members together."""
        return sum(self._columns["size"])


class Archive:
    """A directory or a zip file.

    Args:
        path: the directory or the zip.
        limits: what it may hold.

    Attributes:
        path: the directory or the zip.
        members: the files by their path in the archive: forward slashes, Unicode NFC, sorted.
        rejected: files that cannot be named or read safely.

    `read` may be called by many threads.

    Raises:
        PipelineError: the path is not there, is neither a directory nor a zip, or holds more than
            `limits` allow.
    """

    def __init__(self, path: Path | str, limits: ArchiveParams) -> None:
        self.path = Path(path)
        self._limits = limits
        self.rejected: list[Rejected] = []
        self._zip: Zip | None = None
        if self.path.is_dir():
            found = _directory_members(self.path)
        elif self.path.is_file():
            self._zip = _open_zip(self.path, limits)
            found = _zip_members(self._zip, limits.max_ratio)
        else:
            raise PipelineError(
                f"no such directory or zip: {self.path} (that is {self.path.absolute()}). "
                "Relative paths start at the repository's root."
            )
        try:
            self.members = Members(self._admitted(found))
            self.rejected += [Rejected(p, "name used twice") for p in self.members.ambiguous]
            self.rejected.sort(key=lambda item: (item.path, item.reason))
            self._check_total()
        except zipfile.BadZipFile as error:
            self.close()
            raise NotAZip(self.path, str(error)) from None
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        if self._zip is not None:
            self._zip.close()

    @property
    def is_zip(self) -> bool:
        return self._zip is not None

    def read(self, path: str) -> bytes:
        """A member's bytes; raises Unreadable with the reason."""
        member = self.members[path]
        if member.size > MAX_FILE_BYTES:
            raise Unreadable("file too large")
        try:
            if self._zip is not None:
                assert member.checksum is not None
                data = self._zip.read(
                    member.place, member.packed, member.size, member.checksum, member.method
                )
            else:
                with open(self.path / member.name, "rb") as file:
                    data = file.read(MAX_FILE_BYTES + 1)
        except OSError:
            raise Unreadable("cannot be read from disk") from None
        except Exception as error:
            # BadZipFile and the decompressor's: the bytes are not what the zip's list promises.
            raise Unreadable(DAMAGED) from error
        if len(data) > MAX_FILE_BYTES:
            raise Unreadable("file too large")
        return data

    def _check_total(self) -> None:
        if not self.is_zip:
            return
        total = self.members.bytes
        if total > self._limits.max_gigabytes * _GIGABYTE:
            raise PipelineError(
                f"{self.path} would unpack to {total / _GIGABYTE:.4g} GB, from "
                f"{self.path.stat().st_size / _GIGABYTE:.4g} GB; data.archive.max_gigabytes allows "
                f"{self._limits.max_gigabytes:g}. Raise it if the archive is what you expect it "
                "to be; it is read in place, and needs no room on the disk."
            )

    def _admitted(self, found: Iterator[tuple[str, Member | str]]) -> Iterator[Member]:
        """Sort out what `found` yields: a raw name with a member, or with a reason against it."""
        for number, (name, member) in enumerate(found, start=1):
            if number > self._limits.max_files:
                raise PipelineError(_too_many(self.path, self._limits))
            if isinstance(member, str):
                self.rejected.append(Rejected(_printable(name), member))
            elif not _is_safe(name):
                self.rejected.append(Rejected(_printable(name), "unsafe name"))
            else:
                yield member


def _too_many(path: Path, limits: ArchiveParams) -> str:
    return (
        f"{path} lists more than {limits.max_files:,} files, the most that "
        "data.archive.max_files allows. Raise it if the archive is what you expect it to be."
    )


def _open_zip(path: Path, limits: ArchiveParams) -> Zip:
    try:
        opened = Zip(path)
    except zipfile.BadZipFile as error:
        raise NotAZip(path, str(error)) from None
    if opened.list_bytes > max(_SMALL_LIST, limits.max_files * DIRECTORY_BYTES_A_FILE):
        opened.close()
        raise PipelineError(_too_many(path, limits))
    return opened


def _zip_members(archive: Zip, max_ratio: float) -> Iterator[tuple[str, Member | str]]:
    for item in archive.listed():
        name = item.name.replace("\\", "/")
        if name.endswith("/") or _is_junk(name):
            continue
        if stat.S_IFMT(item.mode) not in (0, stat.S_IFREG):
            yield name, "link or special file"
        elif item.flags & _ENCRYPTED:
            yield name, "encrypted"
        elif item.method not in _READABLE_METHODS or item.flags & _PATCH:
            yield name, "unsupported compression"
        elif item.size > max(SMALL_BYTES, max_ratio * item.packed):
            yield name, "compressed too much"
        else:
            yield name, _zip_member(item, _canonical(name))


def _zip_member(item: Listed, path: str) -> Member:
    return Member(path, item.size, item.checksum, path, item.place, item.packed, item.method)


def _directory_members(root: Path) -> Iterator[tuple[str, Member | str]]:
    """Links are followed (DVC may link files to its cache), each directory once."""
    seen: set[str] = set()
    for folder, folders, files in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders.sort()
        for file in sorted(files):
            name = os.path.relpath(os.path.join(folder, file), root).replace(os.sep, "/")
            if _is_junk(name):
                continue
            try:
                status = os.stat(os.path.join(folder, file))
            except OSError:
                yield name, "cannot be read from disk"
                continue
            if stat.S_ISREG(status.st_mode):
                yield name, Member(_canonical(name), status.st_size, None, name)
            else:
                yield name, "link or special file"


def _is_junk(name: str) -> bool:
    parts = [part for part in name.split("/") if part not in ("", ".", "..")]
    if any(part.lower() in _JUNK_FOLDERS or part.startswith(".") for part in parts):
        return True
    return bool(parts) and parts[-1].lower() in _JUNK_FILES


def _is_safe(name: str) -> bool:
    """Whether a name is relative, stays inside, and is plain UTF-8 text."""
    parts = name.split("/")
    if name.startswith("/") or ".." in parts or ":" in parts[0] or not _canonical(name):
        return False
    return _printable(name) == name


def _canonical(name: str) -> str:
    parts = [part for part in name.split("/") if part not in ("", ".")]
    return unicodedata.normalize("NFC", "/".join(parts))


def _printable(name: str) -> str:
    """`name` with whatever a terminal or a UTF-8 file should not receive shown as an escape."""
    return "".join(
        character if unicodedata.category(character) not in ("Cc", "Cs") else ascii(character)[1:-1]
        for character in name
    )
