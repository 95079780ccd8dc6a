"""Zip files, within bounds: members are read one by one, and nothing is unpacked to disk."""

import io
import stat
import struct
import zipfile
import zlib
from functools import lru_cache

# Of a zip's list: `zipfile` reads it in one piece, and makes an object of each entry.
MOST_MEMBERS = 200_000
MOST_LIST_BYTES = 60_000_000
# A file may unpack to so many times its size; below SMALL_BYTES it can do no harm.
MOST_RATIO = 100
SMALL_BYTES = 1_000_000
MOST_UNPACKED = 100 * 10**9  # bytes of all members together

REPEATED = "another file of the zip has this name"
# What `zipfile` raises on a file that is not what it should be.
DAMAGED = (
    zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError, ValueError, EOFError,
    struct.error, zlib.error,
)  # fmt: skip
# Python unpacks the other methods without a bound: a few bytes can fill the memory.
_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
_ENTRY = b"PK\x01\x02"  # starts each entry of the list
_ENCRYPTED = 0x1 | 0x40


class _Bounded(io.BufferedReader):
    """A file that refuses to read a list of too many members in one piece."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > MOST_LIST_BYTES:
            raise zipfile.BadZipFile(_too_many())
        data = super().read(size)
        if len(data) > MOST_MEMBERS and data.count(_ENTRY) > MOST_MEMBERS:
            raise zipfile.BadZipFile(_too_many())
        return data


def members(path: str) -> list[tuple[zipfile.ZipInfo, str | None]]:
    """List the members of a zip by name, each with the reason why it is refused, or None.

    Raises:
        one of `DAMAGED`: it is no zip, or lists too much.
    """
    with zipfile.ZipFile(_Bounded(io.FileIO(path))) as opened:  # type: ignore[arg-type]
        listed = sorted(opened.infolist(), key=lambda member: member.filename)
    if sum(member.file_size for member in listed) > MOST_UNPACKED:
        raise zipfile.BadZipFile(f"it unpacks to more than {MOST_UNPACKED // 10**9} GB")
    found: list[tuple[zipfile.ZipInfo, str | None]] = []
    previous = None
    for member in listed:
        repeated = REPEATED if member.filename == previous else None
        found.append((member, repeated or _refusal(member)))
        previous = member.filename
    return found


def content(path: str, member: zipfile.ZipInfo) -> bytes:
    """Return the bytes of a member, by the list that `members` gave.

    Raises:
        one of `DAMAGED`: it is not what the list says.
    """
    with _opened(path).open(member) as file:
        data = file.read(member.file_size + 1)
    if len(data) != member.file_size:
        raise zipfile.BadZipFile("shorter than its list says")
    return data


@lru_cache(maxsize=1)
def _opened(path: str) -> zipfile.ZipFile:
    """The zip that was read last stays open: its members are read one after the other."""
    return zipfile.ZipFile(_Bounded(io.FileIO(path)))  # type: ignore[arg-type]


def _refusal(member: zipfile.ZipInfo) -> str | None:
    if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "link or special file"
    if member.flag_bits & _ENCRYPTED:
        return "encrypted"
    if member.compress_type not in _METHODS:
        return "unsupported compression"
    if member.file_size > max(SMALL_BYTES, MOST_RATIO * member.compress_size):
        return "compressed too much"
    return None


def _too_many() -> str:
    return f"it lists more than {MOST_MEMBERS:,} files"
