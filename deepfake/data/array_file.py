"""Arrays in a file, read a few rows at a time."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deepfake.common.files import reading


class ArrayFile:
    """Rows of one shape and type in a file: appended at its end, read by slice or by number.

    The file is not memory-mapped: every row that was ever read would then count as the process's
    memory. Threads may read at the same time.

    Args:
        path: the file; it may not exist yet.
        row_shape: the shape of one row.
        dtype: anything NumPy takes, bfloat16 included.
        offset: bytes before the first row.
    """

    def __init__(
        self, path: Path | str, row_shape: Sequence[int], dtype: Any, offset: int = 0
    ) -> None:
        self._path, self._offset = Path(path), offset
        self.row_shape, self.dtype = tuple(row_shape), np.dtype(dtype)
        self.row_bytes: int = self.dtype.itemsize * int(np.prod(self.row_shape))

    @classmethod
    def npy(cls, path: Path | str) -> "ArrayFile":
        """The array in a `.npy` file of version 1.0.

        Raises:
            PipelineError: the file is damaged, or shorter than its header says.
        """
        with reading(path), open(path, "rb") as file:
            np.lib.format.read_magic(file)
            shape, _, dtype = np.lib.format.read_array_header_1_0(file)
            found = cls(path, shape[1:], dtype, file.tell())
            if found.shape != shape:
                raise ValueError(f"it holds {len(found)} of {shape[0]} rows")
            return found

    def __len__(self) -> int:
        """How many whole rows the file holds."""
        if not self._path.exists():
            return 0
        return int(self._path.stat().st_size - self._offset) // self.row_bytes

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self), *self.row_shape)

    def __getitem__(self, rows: slice) -> np.ndarray:
        """Consecutive rows (n, *row_shape)."""
        start, stop, _ = rows.indices(len(self))
        # Read as bytes, because NumPy does not read bfloat16 from a file.
        values = np.fromfile(
            self._path,
            np.uint8,
            count=max(0, stop - start) * self.row_bytes,
            offset=self._offset + start * self.row_bytes,
        )
        return np.asarray(values.view(self.dtype).reshape(-1, *self.row_shape))

    def take(self, numbers: Sequence[int]) -> np.ndarray:
        """The rows of these numbers, at least one, in this order (n, *row_shape)."""
        return np.concatenate([self[number : number + 1] for number in numbers])

    def append(self, rows: np.ndarray) -> None:
        """Add rows (n, *row_shape)."""
        if rows.shape[1:] != self.row_shape or rows.dtype != self.dtype:
            raise ValueError(
                f"{self._path} holds rows {self.row_shape} {self.dtype}; "
                f"received {rows.shape[1:]} {rows.dtype}"
            )
        with open(self._path, "ab") as file:
            file.write(np.ascontiguousarray(rows).reshape(-1).view(np.uint8).data)
