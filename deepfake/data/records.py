"""Records kept in a file, as many as fit.

A file and not memory: the operating system keeps it in memory as far as there is room and gives
that back when something else needs it, so that a stage's own memory does not grow with the data.
"""

import errno
import os
from array import array
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np


class Records:
    """Records of bytes, appended once and read in any order, of at most `limit` bytes in all.

    A record is one or several C-contiguous arrays. Threads may read at the same time.
    """

    def __init__(self, path: Path, limit: int) -> None:
        self._path, self.limit = path, limit
        self._ends = array("q", [0])

    def __enter__(self) -> Self:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = open(self._path, "w+b", buffering=0)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()
        self._path.unlink(missing_ok=True)

    def __len__(self) -> int:
        return len(self._ends) - 1

    @property
    def size(self) -> int:
        """Bytes in all."""
        return self._ends[-1]

    def append(self, record: Sequence[np.ndarray]) -> bool:
        """Add a record; False where it does not fit, within the limit or on the disk."""
        data = [_bytes(part) for part in record]
        end = self._ends[-1] + sum(len(part) for part in data)
        if end > self.limit:
            return False
        position = self._ends[-1]
        try:
            for part in data:
                while part:
                    written = os.pwrite(self._file.fileno(), part, position)
                    position, part = position + written, part[written:]
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            return False
        self._ends.append(end)
        return True

    def read(self, number: int, into: Sequence[np.ndarray]) -> None:
        """Fill arrays of the types and shapes that record `number` was written with."""
        position = self._ends[number]
        for part in into:
            view = _bytes(part)
            while view:
                count = os.preadv(self._file.fileno(), [view], position)
                if not count:
                    raise EOFError(f"{self._path} ends at {position}")
                position, view = position + count, view[count:]


def _bytes(values: np.ndarray) -> memoryview:
    # Seen as bytes, because NumPy makes no buffer of bfloat16.
    return memoryview(values.reshape(-1).view(np.uint8))  # type: ignore[arg-type]
