"""One read-only view of a directory or a zip: list the files, read one.

A zip is read in place and never unpacked, so that no name in it can touch the disk. Names that
would be dangerous to anyone who did unpack it are refused all the same: the paths travel on into
tables that others read.
"""

import os
import stat
import struct
import unicodedata
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from deepfake.errors import PipelineError
from deepfake.sources.base import Rejected, Unreadable

# No photograph of a face is larger; what claims to be is not read into memory.
MAX_FILE_BYTES = 64_000_000

_JUNK_FOLDERS = {"__macosx"}
_JUNK_FILES = {"thumbs.db", "desktop.ini"}
_READABLE_METHODS = {
    zipfile.ZIP_STORED,
    zipfile.ZIP_DEFLATED,
    zipfile.ZIP_BZIP2,
    zipfile.ZIP_LZMA,
}
_ENCRYPTED = 0x1


@dataclass(frozen=True, slots=True)
class Member:
    """A file in the archive; `checksum` is its CRC-32 where the archive records it."""

    path: str
    size: int
    checksum: int | None
    handle: str | zipfile.ZipInfo


class Archive:
    """A directory or a zip file.

    Attributes:
        path: the directory or the zip.
        members: the files by their path in the archive: forward slashes, Unicode NFC, sorted.
        rejected: files that cannot be named or read safely.

    `read` may be called by many threads: a `zipfile.ZipFile` serialises access to its file by a
    lock and decompresses outside it.

    Raises:
        PipelineError: the path is not there, or is neither a directory nor a zip.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.members: dict[str, Member] = {}
        self.rejected: list[Rejected] = []
        self._zip: zipfile.ZipFile | None = None
        if self.path.is_dir():
            found = _directory_members(self.path)
        elif self.path.is_file():
            self._zip = _open_zip(self.path)
            found = _zip_members(self._zip)
        else:
            raise PipelineError(
                f"no such directory or zip: {self.path} (that is {self.path.absolute()}). "
                "Relative paths start at the repository's root."
            )
        self._admit(found)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
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
            if isinstance(member.handle, zipfile.ZipInfo):
                assert self._zip is not None
                return self._zip.read(member.handle)
            with open(self.path / member.handle, "rb") as file:
                data = file.read(MAX_FILE_BYTES + 1)
        except OSError as error:
            # bzip2 reports bad data as an OSError, too, but one without a number.
            damaged = self.is_zip and error.errno is None
            reason = "damaged in the archive" if damaged else "cannot be read from disk"
            raise Unreadable(reason) from None
        except Exception as error:
            # BadZipFile, EOFError, and each decompressor has errors of its own: all of them say
            # that the bytes are not what the directory of the zip promises.
            raise Unreadable("damaged in the archive") from error
        if len(data) > MAX_FILE_BYTES:
            raise Unreadable("file too large")
        return data

    def _admit(self, found: Iterator[tuple[str, Member | str]]) -> None:
        """Sort out what `found` yields: a raw name with a member, or with a reason against it."""
        members: dict[str, Member] = {}
        ambiguous: set[str] = set()
        for name, member in found:
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


def _open_zip(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, ValueError, OSError, struct.error, NotImplementedError) as error:
        raise PipelineError(
            f"{path} is not a zip that can be read: {error}. It has {path.stat().st_size} bytes; "
            "check that it is complete, or give a directory."
        ) from None


def _zip_members(archive: zipfile.ZipFile) -> Iterator[tuple[str, Member | str]]:
    for info in archive.infolist():
        name = info.filename.replace("\\", "/")
        if name.endswith("/") or _is_junk(name):
            continue
        mode = info.external_attr >> 16
        if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
            yield name, "link or special file"
        elif info.flag_bits & _ENCRYPTED:
            yield name, "encrypted"
        elif info.compress_type not in _READABLE_METHODS:
            yield name, "unsupported compression"
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
