"""The data set on disk: Parquet shards of the original image files, in a fixed order.

`{split}-00000.parquet`, `{split}-00001.parquet`, ... hold `image: struct<bytes, path>`,
`image_id`, `label` (fake = 1) and `split`. The bytes are those of the source, never encoded anew.
Everything here streams: memory holds a few row groups of at most `GROUP_BYTES`, however large
the data set.
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from deepfake.common.errors import PipelineError
from deepfake.common.threads import ordered
from deepfake.data import images

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
class ImageFile:
    """One image file: `label` is 1 for fake, `path` its place in the source, `data` its bytes."""

    image_id: str
    label: int
    split: str
    path: str
    data: bytes


@dataclass(frozen=True, slots=True)
class RowGroup:
    """`rows` consecutive images of a split, the first being number `start` of the split."""

    path: Path
    index: int
    start: int
    rows: int


class ShardWriter:
    """Write images to shards in a directory, in the order given, one split after the other.

    A shard is closed before it would pass `megabytes` (a single row group may), and has its own
    name only once it is complete. After an exception the shard in progress is removed. The same
    images give the same bytes.
    """

    def __init__(self, directory: Path | str, megabytes: float) -> None:
        self._directory = Path(directory)
        self._limit = megabytes * MEGABYTE
        self._group: list[ImageFile] = []
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

    def write(self, image_file: ImageFile) -> None:
        if image_file.split != self._split:
            self._flush()
            self._close_shard()
            self._split, self._number = image_file.split, 0
        full = len(self._group) >= GROUP_ROWS
        if full or (self._group and self._group_bytes + len(image_file.data) > GROUP_BYTES):
            self._flush()
        self._group.append(image_file)
        self._group_bytes += len(image_file.data)

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
            # Compressed images do not compress, and statistics would copy them to the footer.
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
            f"no {split} images in {directory}: expected files {split}-00000.parquet and so on. "
            "Run the `ingest` stage first."
        )
    return found


def count(directory: Path | str, split: str) -> int:
    """How many images a split has, from the files' footers alone."""
    return sum(pq.read_metadata(path).num_rows for path in shards(directory, split))


def image_files(directory: Path | str, split: str) -> Iterator[ImageFile]:
    """The images of a split in order, a row group in memory at a time."""
    for path in shards(directory, split):
        with pq.ParquetFile(path) as file:
            for index in range(file.num_row_groups):
                yield from _image_files(file.read_row_group(index))


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


def read(group: RowGroup) -> list[ImageFile]:
    """The images of one row group, in order."""
    with pq.ParquetFile(group.path) as file:
        return list(_image_files(file.read_row_group(group.index)))


def decoded(
    image_files: Iterable[ImageFile], workers: int | None = None, ahead: int = 64
) -> Iterator[tuple[ImageFile, NDArray[np.uint8]]]:
    """Each image with its pixels (see `images.decode`), in order, decoded by `workers` threads.

    At most `ahead` images are decoded and not yet taken.
    """

    def both(image_file: ImageFile) -> tuple[ImageFile, NDArray[np.uint8]]:
        return image_file, images.decode(image_file.data)

    return ordered(both, image_files, workers, ahead)


def _table(image_files: list[ImageFile]) -> pa.Table:
    rows = {
        "image": [
            {"bytes": image_file.data, "path": image_file.path} for image_file in image_files
        ],
        "image_id": [image_file.image_id for image_file in image_files],
        "label": [image_file.label for image_file in image_files],
        "split": [image_file.split for image_file in image_files],
    }
    return pa.table(rows, schema=SCHEMA)


def _image_files(table: pa.Table) -> Iterator[ImageFile]:
    for row in table.to_pylist():
        image = row["image"]
        yield ImageFile(row["image_id"], row["label"], row["split"], image["path"], image["bytes"])


def batches(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
