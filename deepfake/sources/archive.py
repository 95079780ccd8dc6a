"""One read-only view of a directory or a zip: list the files, read one.

A zip is read in place and never unpacked, so that no name in it can touch the disk. Names that
would be dangerous to anyone who did unpack it are refused all the same: the paths travel on into
tables that others read. What a zip claims of itself is believed only as far as it costs nothing:
`ArchiveParams` bounds how many files it may list and what they may unpack to.
"""

import io
import os
import stat
import unicodedata
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from deepfake.errors import PipelineError
from deepfake.params import ArchiveParams
from deepfake.sources.base import Rejected, Unreadable

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
# `zipfile` unpacks bzip2 and LZMA without a bound: a few bytes can fill the memory.
_READABLE_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
_PIECE = 1 << 20
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
    """A file in the archive; `checksum` is its CRC-32 where the archive records it."""

    path: str
    size: int
    checksum: int | None
    handle: str | zipfile.ZipInfo


class Archive:
    """A directory or a zip file.

    Args:
        path: the directory or the zip.
        limits: what it may hold.

    Attributes:
        path: the directory or the zip.
        members: the files by their path in the archive: forward slashes, Unicode NFC, sorted.
        rejected: files that cannot be named or read safely.

    `read` may be called by many threads: a `zipfile.ZipFile` serialises access to its file by a
    lock and decompresses outside it.

    Raises:
        PipelineError: the path is not there, is neither a directory nor a zip, or holds more than
            `limits` allow.
    """

    def __init__(self, path: Path | str, limits: ArchiveParams) -> None:
        self.path = Path(path)
        self._limits = limits
        self.members: dict[str, Member] = {}
        self.rejected: list[Rejected] = []
        self._zip: zipfile.ZipFile | None = None
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
            self._admit(found)
            self._check_total()
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
        if self._zip is not None and (file := self._zip.fp) is not None:
            self._zip.close()
            file.close()  # a file that was handed to it stays open

    @property
    def is_zip(self) -> bool:
        return self._zip is not None

    def read(self, path: str) -> bytes:
        """A member's bytes; raises Unreadable with the reason."""
        member = self.members[path]
        if member.size > MAX_FILE_BYTES:
            raise Unreadable("file too large")
        try:
            if isinstance(member.handle, zipfile.ZipInfo):
                data = self._unpacked(member.handle)
            else:
                with open(self.path / member.handle, "rb") as file:
                    data = file.read(MAX_FILE_BYTES + 1)
        except OSError:
            raise Unreadable("cannot be read from disk") from None
        except Exception as error:
            # BadZipFile, EOFError, and each decompressor has errors of its own: all of them say
            # that the bytes are not what the directory of the zip promises.
            raise Unreadable(DAMAGED) from error
        if len(data) > MAX_FILE_BYTES:
            raise Unreadable("file too large")
        return data

    def _unpacked(self, info: zipfile.ZipInfo) -> bytes:
        """A member's bytes: at most as many as the zip says, even while they are unpacked."""
        assert self._zip is not None
        with self._zip.open(info) as file:
            data = b"".join(iter(lambda: file.read(_PIECE), b""))
        if len(data) != info.file_size:
            raise zipfile.BadZipFile("shorter than it says")
        return data

    def _check_total(self) -> None:
        if not self.is_zip:
            return
        total = sum(member.size for member in self.members.values())
        if total > self._limits.max_gigabytes * _GIGABYTE:
            raise PipelineError(
                f"{self.path} would unpack to {total / _GIGABYTE:.4g} GB, from "
                f"{self.path.stat().st_size / _GIGABYTE:.4g} GB; data.archive.max_gigabytes allows "
                f"{self._limits.max_gigabytes:g}. Raise it if the archive is what you expect it "
                "to be; it is read in place, and needs no room on the disk."
            )

    def _admit(self, found: Iterator[tuple[str, Member | str]]) -> None:
        """Sort out what `found` yields: a raw name with a member, or with a reason against it."""
        members: dict[str, Member] = {}
        ambiguous: set[str] = set()
        for number, (name, member) in enumerate(found, start=1):
            if number > self._limits.max_files:
                raise PipelineError(_too_many(self.path, self._limits))
            shown = _printable(name)
            if isinstance(member, str):
                self.rejected.append(Rejected(shown, member))
            elif not _is_safe(name):
                self.rejected.append(Rejected(shown, "unsafe name"))
            elif member.path in members or member.path in ambiguous:
                ambiguous.add(member.path)
                members.pop(member.path, None)
            else:
                members[member.path] = member
        self.rejected.extend(Rejected(path, "name used twice") for path in ambiguous)
        self.rejected.sort(key=lambda item: (item.path, item.reason))
        self.members = dict(sorted(members.items()))


class _ZipFile(io.BufferedReader):
    """The file below a `zipfile.ZipFile`, which reads the whole list of files at once."""

    def __init__(self, path: Path, limits: ArchiveParams) -> None:
        super().__init__(io.FileIO(path))
        self._path = path
        self._limits = limits

    def read(self, size: int | None = -1, /) -> bytes:
        # No other reading is as long: that of members is by pieces.
        most = max(_PIECE, self._limits.max_files * DIRECTORY_BYTES_A_FILE)
        if size is not None and size > most:
            raise PipelineError(_too_many(self._path, self._limits))
        data = super().read(size)
        if data.startswith(b"PK\x01\x02") and data.count(b"PK\x01\x02") > self._limits.max_files:
            raise PipelineError(_too_many(self._path, self._limits))
        return data


def _too_many(path: Path, limits: ArchiveParams) -> str:
    return (
        f"{path} lists more than {limits.max_files:,} files, the most that "
        "data.archive.max_files allows. Raise it if the archive is what you expect it to be."
    )


def _open_zip(path: Path, limits: ArchiveParams) -> zipfile.ZipFile:
    file = _ZipFile(path, limits)
    try:
        return zipfile.ZipFile(file)
    except PipelineError:
        file.close()
        raise
    # Whatever is raised on bytes that anyone may have made, the bytes are at fault.
    except Exception as error:
        file.close()
        raise NotAZip(path, str(error)) from None


def _zip_members(archive: zipfile.ZipFile, max_ratio: float) -> Iterator[tuple[str, Member | str]]:
    for info in archive.infolist():
        name = info.filename.replace("\\", "/")
        if name.endswith("/") or _is_junk(name):
            continue
        mode = info.external_attr >> 16
        if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
            yield name, "link or special file"
        elif info.flag_bits & _ENCRYPTED:
            yield name, "encrypted"
        elif info.compress_type not in _READABLE_METHODS or info.flag_bits & _PATCH:
            yield name, "unsupported compression"
        elif info.file_size > max(SMALL_BYTES, max_ratio * info.compress_size):
            yield name, "compressed too much"
        else:
            yield name, Member(_canonical(name), info.file_size, info.CRC, info)


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
