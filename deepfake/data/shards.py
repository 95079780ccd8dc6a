"""The data set on disk: Parquet shards of the original image files, in a fixed order.

`{split}-00000.parquet`, `{split}-00001.parquet`, ... have the columns `image: struct<bytes, path>`,
`image_id`, `label` (fake = 1), `split` and `source`. The bytes are those of the source and are
never re-encoded. Reading and writing hold a few row groups of at most `GROUP_BYTES` in memory,
however large the data set is.
"""

from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from deepfake.common.errors import PipelineError
from deepfake.common.files import move, reading, writing
from deepfake.common.threads import ordered
from deepfake.data import images

# A row group holds at most this many images, and this many bytes unless one image is larger.
GROUP_ROWS = 256
GROUP_BYTES = 8_000_000
MEGABYTE = 1_000_000

SCHEMA = pa.schema(
    [
        pa.field("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
        pa.field("image_id", pa.string()),
        pa.field("label", pa.int8()),
        pa.field("split", pa.string()),
        pa.field("source", pa.string()),
    ]
)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ImageFile:
    """One image file.

    Attributes:
        image_id: 16 hexadecimal digits, unique in the data set.
        label: 1 for fake, 0 for real.
        split: "train", "valid" or "test".
        path: its path in the source.
        data: its original bytes.
        source: the name of its source.
    """

    image_id: str
    label: int
    split: str
    path: str
    data: bytes
    source: str = ""


@dataclass(frozen=True, slots=True)
class RowGroup:
    """Consecutive images of a split, which are read together.

    Attributes:
        path: the shard.
        index: the number of the row group in the shard.
        start: the number of its first image in the split, from 0.
        rows: how many images it has.
    """

    path: Path
    index: int
    start: int
    rows: int


class ShardWriter:
    """Write images to shards in a directory, in the order given, one split after the other.

    Use it as a context manager. A shard has its final name only once it is complete; after an
    exception the unfinished shard is deleted. The same images give the same bytes.

    Args:
        directory: created if it does not exist.
        megabytes: a shard is closed before it would become larger than this, unless it is a single
            row group.
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
        # Waits for the disk while the next shard is made.
        self._mover = ThreadPoolExecutor(1)
        self._moved: list[Future[None]] = []

    def __enter__(self) -> Self:
        self._directory.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if error is None:
                self._flush()
                self._close_shard()
                for moved in self._moved:
                    moved.result()
        finally:
            self._mover.shutdown()
            if self._writer is not None:  # after an exception, before or here
                with suppress(OSError):  # of a full disk, once more
                    self._writer.close()
                self._partial.unlink(missing_ok=True)

    def write(self, image_file: ImageFile) -> None:
        """Add one image; a new shard begins where the split changes."""
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
                use_dictionary=["label", "split", "source"],
                write_statistics=["label", "split"],
            )
        with writing(self._path, self._partial):
            self._writer.write_table(_table(self._group))
        if self._group_bytes > GROUP_BYTES:
            pa.default_memory_pool().release_unused()  # it would keep the memory of one large file
        self._shard_bytes += self._group_bytes
        self._group, self._group_bytes = [], 0

    def _close_shard(self) -> None:
        if self._writer is None:
            return
        with writing(self._path, self._partial):
            self._writer.close()
        self._moved.append(self._mover.submit(move, self._partial, self._path))
        self._writer, self._shard_bytes = None, 0
        self._number += 1


def shards(directory: Path | str, split: str) -> list[Path]:
    """List the shards of a split, in order.

    Raises:
        PipelineError: the split has no shards.
    """
    found = sorted(Path(directory).glob(f"{split}-*.parquet"))
    if not found:
        raise PipelineError(
            f"no {split} images in {directory}: expected files {split}-00000.parquet and so on. "
            "Run the `ingest` stage first."
        )
    return found


def count(directory: Path | str, split: str) -> int:
    """Count the images of a split; reads only the footers of the shards."""
    return sum(_footer(path).num_rows for path in shards(directory, split))


def image_files(directory: Path | str, split: str) -> Iterator[ImageFile]:
    """Yield the images of a split in order, with one row group in memory at a time."""
    for group in row_groups(directory, split):
        yield from read(group)


def origins(directory: Path | str, split: str) -> dict[str, tuple[str, str]]:
    """The path of each image of a split and the name of its source, by `image_id`.

    Reads no image.
    """
    found: dict[str, tuple[str, str]] = {}
    for path in shards(directory, split):
        with reading(path), pq.ParquetFile(path) as file:
            table = file.read(columns=["image_id", "image.path", "source"]).flatten()
            names = ("image_id", "image.path", "source")
            columns = [table[name].to_pylist() for name in names]
        found |= {name: (at, source) for name, at, source in zip(*columns, strict=True)}
    return found


def index(directory: Path | str, split: str) -> list[tuple[str, int]]:
    """The `image_id` and label of each image of a split, in order; reads no image."""
    found: list[tuple[str, int]] = []
    for path in shards(directory, split):
        with reading(path):
            table = pq.read_table(path, columns=["image_id", "label"])
            columns = [table[name].to_pylist() for name in ("image_id", "label")]
        found += zip(*columns, strict=True)
    return found


def row_groups(directory: Path | str, split: str) -> list[RowGroup]:
    """List the row groups of a split in order; reads only the footers of the shards."""
    groups: list[RowGroup] = []
    start = 0
    for path in shards(directory, split):
        metadata = _footer(path)
        for index in range(metadata.num_row_groups):
            rows = metadata.row_group(index).num_rows
            groups.append(RowGroup(path, index, start, rows))
            start += rows
    return groups


def read(group: RowGroup) -> list[ImageFile]:
    """Read the images of one row group, in order.

    Raises:
        PipelineError: the shard is damaged.
    """
    with reading(group.path), pq.ParquetFile(group.path) as file:
        return list(_image_files(file.read_row_group(group.index)))


def _footer(path: Path) -> pq.FileMetaData:
    """What a shard holds, without reading an image."""
    with reading(path):
        return pq.read_metadata(path)


def decoded(
    image_files: Iterable[ImageFile], workers: int | None = None, ahead: int = 64
) -> Iterator[tuple[ImageFile, NDArray[np.uint8]]]:
    """Yield each image with its pixels, uint8 RGB of shape (height, width, 3), in order.

    Args:
        workers: how many threads decode; one per processor by default.
        ahead: how many images may be decoded before they are needed.

    Raises:
        PipelineError: as `decoding` does.
    """

    def both(image_file: ImageFile) -> tuple[ImageFile, NDArray[np.uint8]]:
        with decoding(image_file):
            return image_file, images.decode(image_file.data)

    return ordered(both, image_files, workers, ahead, memory)


def memory(image_file: ImageFile) -> int:
    """About how many bytes an image takes with its pixels."""
    return images.memory(image_file.data)


@contextmanager
def decoding(image_file: ImageFile) -> Iterator[None]:
    """In the block, an image of a shard that cannot be read is a `PipelineError`: `ingest` could
    read it, so the shard has been damaged since."""
    try:
        yield
    except images.BadImage as error:
        raise PipelineError(
            f"the image {image_file.path} of {image_file.split} cannot be read any more "
            f"({error.reason}): its shard is damaged. `dvc checkout -f` brings back the images; "
            "if that does not, `dvc repro -f ingest` makes them again"
        ) from error


def _table(image_files: list[ImageFile]) -> pa.Table:
    rows = {
        "image": [
            {"bytes": image_file.data, "path": image_file.path} for image_file in image_files
        ],
        "image_id": [image_file.image_id for image_file in image_files],
        "label": [image_file.label for image_file in image_files],
        "split": [image_file.split for image_file in image_files],
        "source": [image_file.source for image_file in image_files],
    }
    return pa.table(rows, schema=SCHEMA)


def _image_files(table: pa.Table) -> Iterator[ImageFile]:
    for row in table.to_pylist():
        image = row["image"]
        yield ImageFile(
            row["image_id"],
            row["label"],
            row["split"],
            image["path"],
            image["bytes"],
            row["source"],
        )


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield the items in lists of `size`; the last list may be shorter."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
