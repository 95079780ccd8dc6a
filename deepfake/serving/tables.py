"""Images in a Parquet table: a row for each, with the bytes of its file in a column."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from deepfake.common.errors import PipelineError
from deepfake.common.text import shown
from deepfake.serving.places import Refused

SUFFIX = ".parquet"
# The columns with the bytes: those of this project's shards and of Hugging Face's data sets (a
# struct), of Spark's `binaryFile`, and of tables that people write themselves.
_IMAGES = ("image.bytes", "image", "content", "bytes")
_NAMES = ("name", "path", "image.path", "image_id")
_MOST_GROUP_BYTES = 2 * 10**9  # of a row group, which is read in one piece


@dataclass(frozen=True, slots=True)
class TableRow:
    """A row of a table.

    Attributes:
        path: of the table; a path on this disk, or an address.
        column: with the bytes.
        group: the number of the row group.
        row: the number in the row group.
    """

    path: str
    column: str
    group: int
    row: int

    def content(self) -> bytes:
        value = _column(self.path, self.column, self.group)[self.row].as_py()
        if value is None:
            raise Refused("the row has no image")
        return bytes(value)


def rows(path: str) -> Iterator[tuple[str, TableRow]]:
    """Yield a name of each row of a table with the row; reads no image.

    The name is what a column `name`, `path` or `image_id` says, if that tells the rows apart; else
    the number of the row.

    Raises:
        PipelineError: no column holds the bytes of images, or a row group is too large.
        ValueError, OSError: it is no Parquet table.
    """
    table = _opened(path)
    types = _columns(table)
    column = next((name for name in _IMAGES if "binary" in types.get(name, "")), None)
    if column is None:
        raise PipelineError(
            f"{path}: no column holds the bytes of images, as a binary one of {', '.join(_IMAGES)} "
            f"does; it has {shown(', '.join(types)[:200])}"
        )
    names = _names(table, types)
    number = 0
    for group in range(table.num_row_groups):
        described = table.metadata.row_group(group)
        if described.total_byte_size > _MOST_GROUP_BYTES:
            raise PipelineError(
                f"{path}: its row group {group} has {described.total_byte_size / 1e9:.1f} GB, and "
                f"is read in one piece; write it with row groups of at most "
                f"{_MOST_GROUP_BYTES / 1e9:.0f} GB"
            )
        for row in range(described.num_rows):
            yield names[number] if names else f"row {number}", TableRow(path, column, group, row)
            number += 1


def _columns(table: Any) -> dict[str, str]:
    """The type of each column; those of a struct as `image.bytes`."""
    found: dict[str, str] = {}
    for field in table.schema_arrow:
        parts = field.flatten() if str(field.type).startswith("struct") else [field]
        found |= {part.name: str(part.type) for part in parts}
    return found


def _names(table: Any, columns: Collection[str]) -> list[str]:
    """A different name for each row; empty if no column has that."""
    for name in _NAMES:
        if name in columns:
            values = _flat(table.read([name])).to_pylist()
            if None not in values and len(set(values)) == len(values):
                return [str(value) for value in values]
    return []


def _flat(table: Any) -> Any:
    """The only column of a table, or the only one of its struct."""
    flat = table.flatten()
    assert flat.num_columns == 1
    return flat.column(0)


@lru_cache(maxsize=1)
def _column(path: str, column: str, group: int) -> Any:
    """The images of a row group; those read last stay in memory, for rows are read in order."""
    return _flat(_opened(path).read_row_group(group, columns=[column]))


@lru_cache(maxsize=1)
def _opened(path: str) -> Any:
    try:
        import pyarrow.parquet as pq
    except ModuleNotFoundError as error:
        raise PipelineError(
            f"a Parquet table needs {error.name}: pip install '.[pipeline]' in the project's folder"
        ) from None
    if "://" not in path:
        return pq.ParquetFile(path)
    from deepfake.serving.addresses import remote

    return pq.ParquetFile(remote(path).opened())
