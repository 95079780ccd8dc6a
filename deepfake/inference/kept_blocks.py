"""Computed bytes in a file that a killed run continues, each block of them with a checksum.

A power failure may leave the file's length and not its content, and a disk may lose a block, so
`NAME.crc32` keeps four bytes for each whole block of `NAME`. Nothing waits for the disk: a block
that did not reach it has another checksum, and is computed again.
"""

import zlib
from pathlib import Path
from typing import Self

_SUM_BYTES = 4


class KeptBlocks:
    """A file that grows by items of one size; use it as a context manager.

    Args:
        path: of the file, which an earlier run may have left.
        item: bytes of an item.
        block: items in a block; the last block of `total` may have fewer.
        total: items in the whole file.

    Attributes:
        done: how many items the file holds. On entering, the file is cut back to the blocks before
            the first that is not whole or has another checksum.
    """

    def __init__(self, path: Path, item: int, block: int, total: int) -> None:
        self._path, self._item, self._block, self._total = path, item, block, total
        self._sum = 0
        self.done = 0

    def __enter__(self) -> Self:
        self._file = open(self._path, "a+b")
        self._sums = open(f"{self._path}.crc32", "a+b")
        self.done = self._right()
        self._file.truncate(self.done * self._item)
        self._sums.truncate(_SUM_BYTES * -(-self.done // self._block))
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._sums.close()

    def _right(self) -> int:
        """How many items the first blocks hold, up to one that is not whole or not right."""
        self._file.seek(0)
        self._sums.seek(0)
        done = 0
        while done < self._total:
            items = min(self._block, self._total - done)
            found = self._file.read(items * self._item)
            known = self._sums.read(_SUM_BYTES)
            if len(found) < items * self._item or known != _bytes(zlib.crc32(found)):
                break
            done += items
        return done

    def append(self, item: bytes) -> None:
        """Add one item; the checksum of a block follows its last one."""
        self._file.write(item)
        self._sum = zlib.crc32(item, self._sum)
        self.done += 1
        if self.done % self._block == 0 or self.done == self._total:
            self._file.flush()
            self._sums.write(_bytes(self._sum))
            self._sums.flush()
            self._sum = 0


def _bytes(checksum: int) -> bytes:
    return checksum.to_bytes(_SUM_BYTES, "little")
