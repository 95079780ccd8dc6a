"""Zip files: list them within bounds and read a member, by the standard `zipfile`."""

import contextlib
import io
import re
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
# The end record: its mark, the number of files in all, the length of the comment behind it. A zip
# of many files has an end record of 64 bits before it, and a locator of that one.
_END, _END_64 = b"PK\x05\x06", b"PK\x06\x06"
_END_RECORD, _END_64_RECORD = struct.Struct("<10xH8xH"), struct.Struct("<32xQ16x")
_END_64_LOCATOR = 20
_SEE_64 = 0xFFFF
_LONGEST_END = _END_64_RECORD.size + _END_64_LOCATOR + _END_RECORD.size + 0xFFFF
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

    def __init__(self, path: Path | str, fault: str, size: int) -> None:
        super().__init__(
            f"{path} is not a zip that can be read: {fault}. It has {size} bytes; check that it is "
            "complete, or give a directory."
        )
        self.fault = fault


class TooManyFiles(PipelineError):
    """A directory or zip with more files than `data.archive.max_files` allows."""

    def __init__(self, path: Path | str, max_files: int) -> None:
        super().__init__(
            f"{path} lists more than {max_files:,} files, the most that data.archive.max_files "
            "allows. Raise it if the archive is what you expect it to be."
        )


class _File(io.BufferedReader):
    """A zip file that refuses to read a list of too many files, and reads its comment as zeros.

    `zipfile` reads the list in one piece and makes an object for each entry. A bound on what a zip
    can make it allocate must therefore be part of reading. And it takes the last end record that it
    sees for the end, even one in the comment.

    Attributes:
        size: bytes of the zip.
        comment: where the comment begins.
        is_listed: to be set once the list has been read; from then on all is read as it is.
    """

    def __init__(self, raw: io.RawIOBase, path: Path | str, max_files: int) -> None:
        super().__init__(raw)
        self._path = path
        self._max_files = max_files
        self.size = self.comment = self.seek(0, io.SEEK_END)
        self.seek(0)
        self.is_listed = False

    def read(self, size: int | None = -1, /) -> bytes:
        if self.is_listed:
            return super().read(size)
        if size is None or size <= _SMALL_LIST:
            data = super().read(size)
            beyond = min(len(data), max(0, self.tell() - self.comment))
            return data[: len(data) - beyond] + bytes(beyond)
        if size > self._max_files * DIRECTORY_BYTES_A_FILE:
            raise TooManyFiles(self._path, self._max_files)
        data = super().read(size)
        if data.count(_ENTRY) > self._max_files * _ENTRIES_A_FILE:
            raise TooManyFiles(self._path, self._max_files)
        return data


def _end(file: io.BufferedReader) -> tuple[int, int | None]:
    """Find the end record of a zip.

    Returns:
        The position after it, where the comment begins; and the number of files that it states.

    Raises:
        BadZipFile: two records end where the file ends, each with a comment of its own.
    """
    size = file.seek(0, io.SEEK_END)
    start = file.seek(max(0, size - _LONGEST_END))
    tail = file.read()
    found = [match.start() for match in re.finditer(re.escape(_END), tail)]
    found = [at for at in found if at + _END_RECORD.size <= len(tail)]
    records = [(at, *_END_RECORD.unpack_from(tail, at)) for at in found]
    whole = [record for record in records if record[0] + _END_RECORD.size + record[-1] == len(tail)]
    if len(whole) > 1:
        raise zipfile.BadZipFile("its end can be read in two ways")
    if not records:
        return size, None
    # Where bytes were added behind the end, no record ends with the file.
    at, files, _ = (whole or records[-1:])[0]
    before = at - _END_64_LOCATOR - _END_64_RECORD.size
    if before >= 0 and tail.startswith(_END_64, before):
        (files,) = _END_64_RECORD.unpack_from(tail, before)
    return start + at + _END_RECORD.size, files


class Zip:
    """A zip file, open for reading; `read` may be called by many threads.

    Args:
        path: of the zip.
        max_files: how many files it may list.
        raw: its bytes, if it is not on this machine's disk; closed with the zip.

    Attributes:
        size: in bytes.

    Raises:
        NotAZip: it has no list of files, a damaged one, or one of another length than it states.
        TooManyFiles: its list is longer than `max_files` files need.
    """

    def __init__(self, path: Path | str, max_files: int, raw: io.RawIOBase | None = None) -> None:
        with contextlib.ExitStack() as opened:
            raw = opened.enter_context(io.FileIO(path) if raw is None else raw)
            self._file = opened.enter_context(_File(raw, path, max_files))
            self.size = self._file.size
            try:
                self._file.comment, stated = _end(self._file)
                self._zip = zipfile.ZipFile(self._file)
                _check_list(self._zip.filelist, stated)
            except _DAMAGED as error:
                raise NotAZip(path, str(error), self.size) from None
            opened.pop_all()
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


def _check_list(items: list[zipfile.ZipInfo], stated: int | None) -> None:
    """Raise BadZipFile if the list cannot be that of the zip; `stated` is its length by the end."""
    listed = len(items)
    # Old programs state it modulo 65,536.
    if stated is not None and stated != _SEE_64 and (listed - stated) % (1 << 16):
        raise zipfile.BadZipFile(f"its end states {stated:,} files, and its list has {listed:,}")
    if any(item.header_offset < 0 for item in items):
        raise zipfile.BadZipFile("its list places files before its start")


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
