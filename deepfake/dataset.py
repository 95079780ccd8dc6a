"""The data set on disk: Parquet shards of the original picture files, in a fixed order.

`{split}-00000.parquet`, `{split}-00001.parquet`, ... hold `image: struct<bytes, path>`,
`image_id`, `label` (fake = 1) and `split`. The bytes are those of the source, never encoded anew.
Everything here streams: memory holds a few row groups of at most `GROUP_BYTES`, however large
the data set.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from deepfake import images
from deepfake.errors import PipelineError
from deepfake.runtime import cores

GROUP_ROWS = 256
GROUP_BYTES = 8_000_000
MEGABYTE = 1_000_000

SCHEMA = pa.schema(
    [
        pa.field("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
        pa.field("image_id", pa.string()),
        pa.field("label", pa.int8()),
        pa.field("split", pa.string()),
    ]
)

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture file: `label` is 1 for fake, `path` its place in the source, `data` its bytes."""

    image_id: str
    label: int
    split: str
    path: str
    data: bytes


@dataclass(frozen=True, slots=True)
class RowGroup:
    """`rows` consecutive pictures of a split, the first being number `start` of the split."""

    path: Path
    index: int
    start: int
    rows: int


class ShardWriter:
    """Write pictures to shards in a directory, in the order given, one split after the other.

    A shard is closed before it would pass `megabytes` (a single row group may), and has its own
    name only once it is complete. After an exception the shard in progress is removed. The same
    pictures give the same bytes.
    """

    def __init__(self, directory: Path | str, megabytes: float) -> None:
        self._directory = Path(directory)
        self._limit = megabytes * MEGABYTE
        self._group: list[Picture] = []
        self._group_bytes = 0
        self._shard_bytes = 0
        self._split: str | None = None
        self._number = 0
        self._writer: pq.ParquetWriter | None = None

    def __enter__(self) -> Self:
        self._directory.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self._flush()
            self._close_shard()
        elif self._writer is not None:
            self._writer.close()
            self._partial.unlink(missing_ok=True)

    def write(self, picture: Picture) -> None:
        if picture.split != self._split:
            self._flush()
            self._close_shard()
            self._split, self._number = picture.split, 0
        full = len(self._group) >= GROUP_ROWS
        if full or (self._group and self._group_bytes + len(picture.data) > GROUP_BYTES):
            self._flush()
        self._group.append(picture)
        self._group_bytes += len(picture.data)

    @property
    def _path(self) -> Path:
        return self._directory / f"{self._split}-{self._number:05}.parquet"

    @property
    def _partial(self) -> Path:
        return self._path.with_name(f".partial-{self._path.name}")

    def _flush(self) -> None:
        if not self._group:
            return
        if self._shard_bytes and self._shard_bytes + self._group_bytes > self._limit:
            self._close_shard()
        if self._writer is None:
            # Compressed pictures do not compress, and statistics would copy them to the footer.
            self._writer = pq.ParquetWriter(
                self._partial,
                SCHEMA,
                compression="NONE",
                use_dictionary=["label", "split"],
                write_statistics=["label", "split"],
            )
        self._writer.write_table(_table(self._group))
        self._shard_bytes += self._group_bytes
        self._group, self._group_bytes = [], 0

    def _close_shard(self) -> None:
        if self._writer is None:
            return
        self._writer.close()
        os.replace(self._partial, self._path)
        self._writer, self._shard_bytes = None, 0
        self._number += 1


def shards(directory: Path | str, split: str) -> list[Path]:
    """The files of a split, in order.

    Raises:
        PipelineError: there is none.
    """
    found = sorted(Path(directory).glob(f"{split}-*.parquet"))
    if not found:
        raise PipelineError(
            f"no {split} pictures in {directory}: expected files {split}-00000.parquet and so on. "
            "Run the `ingest` stage first."
        )
    return found


def count(directory: Path | str, split: str) -> int:
    """How many pictures a split has, from the files' footers alone."""
    return sum(pq.read_metadata(path).num_rows for path in shards(directory, split))


def pictures(directory: Path | str, split: str) -> Iterator[Picture]:
    """The pictures of a split in order, a row group in memory at a time."""
    for path in shards(directory, split):
        with pq.ParquetFile(path) as file:
            for index in range(file.num_row_groups):
                yield from _pictures(file.read_row_group(index))


def row_groups(directory: Path | str, split: str) -> list[RowGroup]:
    """The row groups of a split in order, from the files' footers alone."""
    groups: list[RowGroup] = []
    start = 0
    for path in shards(directory, split):
        metadata = pq.read_metadata(path)
        for index in range(metadata.num_row_groups):
            rows = metadata.row_group(index).num_rows
            groups.append(RowGroup(path, index, start, rows))
            start += rows
    return groups


def read(group: RowGroup) -> list[Picture]:
    """The pictures of one row group, in order."""
    with pq.ParquetFile(group.path) as file:
        return list(_pictures(file.read_row_group(group.index)))


def decoded(
    pictures: Iterable[Picture], workers: int | None = None, ahead: int = 64
) -> Iterator[tuple[Picture, NDArray[np.uint8]]]:
    """Each picture with its pixels (see `images.decode`), in order, decoded by `workers` threads.

    At most `ahead` pictures are decoded and not yet taken.
    """

    def both(picture: Picture) -> tuple[Picture, NDArray[np.uint8]]:
        return picture, images.decode(picture.data)

    return ordered(both, pictures, workers, ahead)


def ordered(
    function: Callable[[T], R], items: Iterable[T], workers: int | None = None, ahead: int = 64
) -> Iterator[R]:
    """`map(function, items)` by threads: in order, with at most `ahead` items under way.

    Args:
        workers: number of threads; None: one a processor.
    """
    waiting: deque[Future[R]] = deque()
    remaining = iter(items)
    pool = ThreadPoolExecutor(workers or cores())
    try:
        waiting.extend(pool.submit(function, item) for item in islice(remaining, max(1, ahead)))
        while waiting:
            yield waiting.popleft().result()
            waiting.extend(pool.submit(function, item) for item in islice(remaining, 1))
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _table(pictures: list[Picture]) -> pa.Table:
    rows = {
        "image": [{"bytes": picture.data, "path": picture.path} for picture in pictures],
        "image_id": [picture.image_id for picture in pictures],
        "label": [picture.label for picture in pictures],
        "split": [picture.split for picture in pictures],
    }
    return pa.table(rows, schema=SCHEMA)


def _pictures(table: pa.Table) -> Iterator[Picture]:
    for row in table.to_pylist():
        image = row["image"]
        yield Picture(row["image_id"], row["label"], row["split"], image["path"], image["bytes"])
