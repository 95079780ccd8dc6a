"""Zip files: list them within bounds and read a member, by the standard `zipfile`."""

import io
import stat
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path

from deepfake.common.errors import PipelineError
from deepfake.sources.members import Member, canonical, is_junk

# Below this a file may unpack to any multiple of its size: it can do no harm.
SMALL_BYTES = 1_000_000
# Bytes that one file may take in the zip's list: 46, its name, and fields of rarely 100 bytes.
DIRECTORY_BYTES_A_FILE = 400
# Entries that the zip may list for each file allowed: macOS adds one of its own to each file.
_ENTRIES_A_FILE = 2
# A list of this size is read no matter how few files are allowed.
_SMALL_LIST = 1 << 20
_ENTRY = b"PK\x01\x02"  # starts each entry of the list
# Python unpacks bzip2 and LZMA without a bound: a few bytes can fill the memory.
_READABLE_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
# Bits of a member's flags: encryption, encryption of another kind, a patch to another file.
_ENCRYPTED = 0x1 | 0x40
_PATCH = 0x20
# What `zipfile` raises on a list of files that is not one, besides its own error.
_DAMAGED = (zipfile.BadZipFile, NotImplementedError, OSError, ValueError, struct.error)


class NotAZip(PipelineError):
    """A file that cannot be read as a zip; `fault` says why."""

    def __init__(self, path: Path, fault: str) -> None:
        super().__init__(
            f"{path} is not a zip that can be read: {fault}. It has {path.stat().st_size} bytes; "
            "check that it is complete, or give a directory."
        )
        self.fault = fault


class TooManyFiles(PipelineError):
    """A directory or zip with more files than `data.archive.max_files` allows."""

    def __init__(self, path: Path, max_files: int) -> None:
        super().__init__(
            f"{path} lists more than {max_files:,} files, the most that data.archive.max_files "
            "allows. Raise it if the archive is what you expect it to be."
        )


class _File(io.BufferedReader):
    """A zip file that refuses to read a list of too many files.

    `zipfile` reads the list in one piece and makes an object for each entry. A bound on what a zip
    can make it allocate must therefore be part of reading.
    """

    def __init__(self, path: Path, max_files: int) -> None:
        super().__init__(io.FileIO(path))
        self._path = path
        self._max_files = max_files
        self.is_listed = False  # set once the list has been read: from then on nothing is refused

    def read(self, size: int | None = -1, /) -> bytes:
        if self.is_listed or size is None or size <= _SMALL_LIST:
            return super().read(size)
        if size > self._max_files * DIRECTORY_BYTES_A_FILE:
            raise TooManyFiles(self._path, self._max_files)
        data = super().read(size)
        if data.count(_ENTRY) > self._max_files * _ENTRIES_A_FILE:
            raise TooManyFiles(self._path, self._max_files)
        return data


class Zip:
    """A zip file, open for reading; `read` may be called by many threads.

    Args:
        path: of the zip.
        max_files: how many files it may list.

    Raises:
        NotAZip: it has no list of files, or a damaged one.
        TooManyFiles: its list is longer than `max_files` files need.
    """

    def __init__(self, path: Path, max_files: int) -> None:
        self._file = _File(path, max_files)
        try:
            self._zip = zipfile.ZipFile(self._file)
            if any(item.header_offset < 0 for item in self._zip.filelist):
                raise zipfile.BadZipFile("its list places files before its start")
        except PipelineError:
            self._file.close()
            raise
        except _DAMAGED as error:
            self._file.close()
            raise NotAZip(path, str(error)) from None
        self._file.is_listed = True

    def close(self) -> None:
        self._zip.close()
        self._file.close()

    def members(self, max_ratio: float) -> Iterator[tuple[str, Member | str]]:
        """Yield the name of each file with its member, or with the reason why it is refused.

        Can be called once: `zipfile`'s own list, half a kilobyte for each file, is then emptied.

        Args:
            max_ratio: how many times its size a file may unpack to, where that is more than
                `SMALL_BYTES`.
        """
        for item in self._zip.filelist:
            name = item.orig_filename.replace("\\", "/")
            if not name.endswith("/") and not is_junk(name):
                yield name, _refusal(item, max_ratio) or _member(item, canonical(name))
        self._zip.filelist.clear()
        self._zip.NameToInfo.clear()

    def read(self, member: Member) -> bytes:
        """Return the content of a file; unpacks at most one byte more than `member.size`.

        Raises:
            Exception: of `zipfile` or `zlib`: it is damaged, or not what the zip's list says.
        """
        info = zipfile.ZipInfo(member.name)
        info.orig_filename = member.name
        info.header_offset, info.compress_size = member.offset, member.packed
        info.file_size, info.CRC = member.size, member.checksum or 0
        info.compress_type, info.flag_bits = member.method, member.flags
        with self._zip.open(info) as file:
            data = file.read(member.size + 1)
        if len(data) != member.size:
            raise zipfile.BadZipFile("shorter than its list says")
        return data


def _refusal(item: zipfile.ZipInfo, max_ratio: float) -> str | None:
    if stat.S_IFMT(item.external_attr >> 16) not in (0, stat.S_IFREG):
        return "link or special file"
    if item.flag_bits & _ENCRYPTED:
        return "encrypted"
    if item.compress_type not in _READABLE_METHODS or item.flag_bits & _PATCH:
        return "unsupported compression"
    if item.file_size > max(SMALL_BYTES, max_ratio * item.compress_size):
        return "compressed too much"
    return None


def _member(item: zipfile.ZipInfo, path: str) -> Member:
    return Member(
        path,
        item.file_size,
        item.CRC,
        name=item.orig_filename,
        offset=item.header_offset,
        packed=item.compress_size,
        method=item.compress_type,
        flags=item.flag_bits,
    )
