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
# Of a row group, which is read in one piece; two are kept.
MOST_GROUP_BYTES = 500_000_000
_UNREADABLE = (OSError, ValueError, IndexError)  # of pyarrow, for what is no table, or damaged


class NoImages(PipelineError):
    """A table that holds no images, or none that can be read here."""


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
        try:
            value = _column(self.path, self.column, self.group)[self.row].as_py()
        except _UNREADABLE as error:
            raise Refused(f"damaged in the table: {_reason(error)}") from None
        if value is None:
            raise Refused("the row has no image")
        return bytes(value)


def rows(path: str) -> Iterator[tuple[str, TableRow]]:
    """Yield a name of each row of a table with the row; reads no image.

    The name is what a column `name`, `path` or `image_id` says, if that tells the rows apart; else
    the number of the row.

    Raises:
        NoImages: no column holds the bytes of images, or pyarrow is missing.
        Refused: it is no Parquet table, or a row group is too large.
    """
    try:
        table = _opened(path)
        types = _types(table)
        column = next((name for name in _IMAGES if types.get(name) == "bytes"), None)
        if column is None:
            raise NoImages(
                f"{shown(path)}: no column holds the bytes of images, as a binary one of "
                f"{', '.join(_IMAGES)} does; it has {shown(', '.join(types)[:200])}"
            )
        names = _names(table, [name for name in _NAMES if types.get(name) == "name"])
    except _UNREADABLE as error:
        raise Refused(f"not a Parquet table that can be read: {_reason(error)}") from None
    groups = [table.metadata.row_group(number) for number in range(table.num_row_groups)]
    largest = max((group.total_byte_size for group in groups), default=0)
    if largest > MOST_GROUP_BYTES:
        raise Refused(
            f"a row group of {largest / 1e6:,.0f} MB is read in one piece, and at most "
            f"{MOST_GROUP_BYTES / 1e6:,.0f} MB are; write the table with smaller ones"
        )
    places = ((number, row) for number, group in enumerate(groups) for row in range(group.num_rows))
    for count, (group, row) in enumerate(places):
        yield names[count] if names else f"row {count}", TableRow(path, column, group, row)


def _types(table: Any) -> dict[str, str]:
    """What each column may be used as, `bytes`, `name` or neither; those of a struct by names such
    as `image.bytes`."""
    import pyarrow as pa

    found: dict[str, str] = {}
    for field in table.schema_arrow:
        for part in field.flatten() if pa.types.is_struct(field.type) else [field]:
            kind = part.type
            if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
                found[part.name] = "bytes"
            elif pa.types.is_string(kind) or pa.types.is_large_string(kind):
                found[part.name] = "name"
            else:
                found[part.name] = "name" if pa.types.is_integer(kind) else "neither"
    return found


def _names(table: Any, columns: Collection[str]) -> list[str]:
    """A different name for each row; empty if no column has that."""
    for name in columns:
        values = _flat(table.read([name])).to_pylist()
        if None not in values and len(set(values)) == len(values):
            return [str(value) for value in values]
    return []


def _flat(table: Any) -> Any:
    """The only column of a table, or the only one of its struct."""
    flat = table.flatten()
    if flat.num_columns != 1:
        raise ValueError(f"{flat.num_columns} columns are named {flat.column_names[0]}")
    return flat.column(0)


# Rows are read in order; a report comes back to an image after the next ones have been read.
@lru_cache(maxsize=2)
def _column(path: str, column: str, group: int) -> Any:
    """The images of a row group."""
    return _flat(_opened(path).read_row_group(group, columns=[column]))


@lru_cache(maxsize=1)
def _opened(path: str) -> Any:
    try:
        import pyarrow.parquet as pq
    except ModuleNotFoundError as error:
        raise NoImages(
            f"{shown(path)} is a Parquet table, which needs {error.name}: pip install "
            "'.[pipeline]' in the project's folder"
        ) from None
    if "://" not in path:
        return pq.ParquetFile(path)
    from deepfake.serving.addresses import remote

    return pq.ParquetFile(remote(path).opened())


def _reason(error: Exception) -> str:
    return shown(" ".join(str(error).split())[:200])
