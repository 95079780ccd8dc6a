"""A zip read in place, by PKWARE's APPNOTE.TXT: its list of files, and each file's bytes.

`zipfile` holds an object of most of a kilobyte for each file as long as a zip is open. Here the
list is passed on file by file, and who reads a file says where it is.
"""

import io
import struct
import threading
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from zipfile import ZIP_DEFLATED, BadZipFile

_END = struct.Struct("<4s4H2LH")
_END_64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR_64 = struct.Struct("<4sLQL")
_LISTED = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_LONGEST_COMMENT = 0xFFFF
_UTF_8 = 0x800
# A number that stands, in 64 bits, among the extra fields.
_WIDE, _WIDE_FIELD = 0xFFFFFFFF, 1


@dataclass(frozen=True, slots=True)
class Listed:
    """What a zip's list says of a file.

    Attributes:
        name: as it stands there; bytes that are no text as lone surrogates.
        place: of its header in the zip file.
        packed: bytes that it takes there.
        size: bytes that it unpacks to.
        checksum: CRC-32 of those.
        method: of compression.
        flags: of the zip format.
        mode: Unix type and permissions, 0 where there are none.
    """

    name: str
    place: int
    packed: int
    size: int
    checksum: int
    method: int
    flags: int
    mode: int


class Zip:
    """A zip file, open for reading; `read` may be called by many threads.

    Attributes:
        list_bytes: of the list of files.

    Raises:
        BadZipFile: it has no list of files.
    """

    def __init__(self, path: Path) -> None:
        self._file = open(path, "rb")  # noqa: SIM115 - closed by `close`
        self._lock = threading.Lock()
        try:
            self._start, self.list_bytes, self._shift = _directory(self._file)
        except BaseException:
            self._file.close()
            raise

    def close(self) -> None:
        self._file.close()

    def listed(self) -> Iterator[Listed]:
        """The files, in the order of the list.

        Raises:
            BadZipFile: the list is damaged.
        """
        self._file.seek(self._start)
        data = self._file.read(self.list_bytes)
        at = 0
        while at < self.list_bytes:
            if len(data) - at < _LISTED.size:
                raise BadZipFile("its list of files is cut off")
            fields = _LISTED.unpack_from(data, at)
            if fields[0] != b"PK\x01\x02":
                raise BadZipFile("its list of files is damaged")
            name_end = at + _LISTED.size + fields[10]
            extra_end = name_end + fields[11]
            if extra_end + fields[12] > len(data):
                raise BadZipFile("its list of files is cut off")
            yield _listed(fields, data[at + _LISTED.size : name_end], data[name_end:extra_end])
            at = extra_end + fields[12]

    def read(self, place: int, packed: int, size: int, checksum: int, method: int) -> bytes:
        """The bytes of a file, stored or deflated; in memory at most as many as the list says.

        Raises:
            BadZipFile, zlib.error, OSError: it is damaged, or not what the list says.
        """
        if packed > size + size // 100 + 1000:  # nothing becomes as much longer
            raise BadZipFile("longer than its list says")
        with self._lock:
            self._file.seek(place + self._shift)
            header = self._file.read(_LOCAL.size)
            if len(header) < _LOCAL.size or not header.startswith(b"PK\x03\x04"):
                raise BadZipFile("no file where its list says")
            self._file.seek(sum(_LOCAL.unpack(header)[9:]), io.SEEK_CUR)
            data = self._file.read(packed)
        if method == ZIP_DEFLATED:
            data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, size + 1)
        if len(data) != size or zlib.crc32(data) != checksum:
            raise BadZipFile("not what its list says")
        return data


def _directory(file: io.BufferedReader) -> tuple[int, int, int]:
    """Where the list of files starts, its bytes, and how many bytes stand before the zip itself."""
    length = file.seek(0, io.SEEK_END)
    begin = max(0, length - _END.size - _LONGEST_COMMENT)
    file.seek(begin)
    tail = file.read(_END.size + _LONGEST_COMMENT)
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) - at < _END.size:
        raise BadZipFile("it has no list of files at its end")
    size, offset = _END.unpack_from(tail, at)[5:7]
    end = begin + at
    before = end - _LOCATOR_64.size - _END_64.size
    if before >= 0:
        file.seek(before)
        wide = _END_64.unpack(file.read(_END_64.size))
        locator = file.read(_LOCATOR_64.size)
        if wide[0] == b"PK\x06\x06" and locator.startswith(b"PK\x06\x07"):
            (size, offset), end = wide[8:10], before
    shift = end - size - offset
    if shift < 0:
        raise BadZipFile("its list of files lies outside of it")
    return offset + shift, size, shift


def _listed(fields: tuple[int, ...], name: bytes, extra: bytes) -> Listed:
    flags, method = fields[3:5]
    checksum, packed, size = fields[7:10]
    mode, place = fields[15] >> 16, fields[16]
    if _WIDE in (size, packed, place):
        size, packed, place = _widened([size, packed, place], extra)
    encoding, errors = ("utf-8", "surrogateescape") if flags & _UTF_8 else ("cp437", "strict")
    return Listed(name.decode(encoding, errors), place, packed, size, checksum, method, flags, mode)


def _widened(numbers: list[int], extra: bytes) -> list[int]:
    """The numbers, those that are `_WIDE` taken from the extra fields, where they stand in turn."""
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, at)
        if kind == _WIDE_FIELD:
            values = struct.iter_unpack("<Q", extra[at + 4 : at + 4 + length // 8 * 8])
            try:
                return [next(values)[0] if number == _WIDE else number for number in numbers]
            except (StopIteration, RuntimeError):
                break
        at += 4 + length
    raise BadZipFile("its list of files is damaged")
