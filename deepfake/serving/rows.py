"""Predictions as rows, written as they come: a table, CSV, a JSON object a line, or Parquet."""

import csv
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Protocol

from deepfake.common.errors import PipelineError
from deepfake.common.files import replacing
from deepfake.common.text import printable
from deepfake.serving.detector import Prediction

_BY_SUFFIX = {
    ".txt": "table", ".csv": "csv", ".json": "json", ".jsonl": "json", ".parquet": "parquet"
}  # fmt: skip
_COLUMNS = ("name", "score", "verdict", "reason")
# What a spreadsheet takes for the beginning of a formula.
_FORMULA = ("=", "+", "-", "@")
_GROUP_ROWS = 10_000  # of Parquet, written together


class Writer(Protocol):
    def write(self, prediction: Prediction) -> None: ...


@contextmanager
def writing(output: Path | None, format: str) -> Iterator[Writer]:
    """Open what writes predictions.

    Args:
        output: the file, put in place at the end; None: standard output.
        format: `table`, `csv`, `json` or `parquet`.

    Raises:
        PipelineError: whoever read standard output has left, as `| head` does; or Parquet has no
            file to go to.
    """
    if format == "parquet":
        if output is None:
            raise PipelineError("Parquet is written to a file: --output scores.parquet")
        with replacing(output) as partial, _parquet(partial) as writer:
            yield writer
        return
    writers: dict[str, Callable[[IO[str]], Writer]] = {"table": _Table, "csv": _Csv, "json": _Json}
    with text(output) as file:
        yield writers[format](file)


@contextmanager
def text(output: Path | None) -> Iterator[IO[str]]:
    """The file for text, put in place at the end; or standard output.

    Raises:
        PipelineError: whoever read standard output has left, as `| head` does.
    """
    if output is not None:
        with (
            replacing(output) as partial,
            partial.open("w", encoding="utf-8", newline="\n") as file,
        ):
            yield file
        return
    try:
        # `sys.stdout` drops what nobody reads, and all images would be scored for nobody.
        with open(
            sys.stdout.fileno(), "w", buffering=1, encoding="utf-8", newline="\n", closefd=False
        ) as file:
            yield file
    except BrokenPipeError:
        raise PipelineError("stopped: standard output was closed before the last row") from None


def csv_name(name: str) -> str:
    """A file's name as CSV may hold it: escaped, and no formula to a spreadsheet."""
    safe = printable(name)
    return f"./{safe}" if safe.startswith(_FORMULA) else safe  # the same file


def format_of(output: Path) -> str:
    """The format that the name of a file asks for.

    Raises:
        PipelineError: it ends in something else.
    """
    try:
        return _BY_SUFFIX[output.suffix.lower()]
    except KeyError:
        raise PipelineError(
            f"the output is a file that ends in {', '.join(_BY_SUFFIX)}; received {output}"
        ) from None


class _Table:
    """Score and verdict first, because the longest name is not known when the first row comes."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file
        file.write(f"{'score':<7} {'verdict':<9} image\n")

    def write(self, prediction: Prediction) -> None:
        name = printable(prediction.name)
        if prediction.score is None:
            self._file.write(f"{'-':<7} {'refused':<9} {name}: {_reason(prediction)}\n")
        else:
            self._file.write(f"{prediction.score:<7.4f} {prediction.verdict:<9} {name}\n")


class _Csv:
    def __init__(self, file: IO[str]) -> None:
        self._rows = csv.writer(file, lineterminator="\n")
        self._rows.writerow(_COLUMNS)

    def write(self, prediction: Prediction) -> None:
        row = {**_escaped(prediction), "name": csv_name(prediction.name)}
        if row["score"] is not None:
            row["score"] = f"{row['score']:.6f}"
        self._rows.writerow(["" if row[name] is None else row[name] for name in _COLUMNS])


class _Json:
    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def write(self, prediction: Prediction) -> None:
        self._file.write(json.dumps(_escaped(prediction), ensure_ascii=False) + "\n")


def _escaped(prediction: Prediction) -> dict[str, Any]:
    row = prediction.as_dict()
    reason = None if prediction.reason is None else _reason(prediction)
    return {**row, "name": printable(prediction.name), "reason": reason}


def _reason(prediction: Prediction) -> str:
    return printable(prediction.reason or "")


@contextmanager
def _parquet(path: Path) -> Iterator[Writer]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ModuleNotFoundError as error:
        raise PipelineError(
            f"Parquet needs {error.name}: pip install '.[pipeline]' in the project's folder"
        ) from None
    kinds = {"name": pa.string(), "score": pa.float64(), "verdict": pa.string()}
    schema = pa.schema({**kinds, "reason": pa.string()})
    with pq.ParquetWriter(path, schema) as file:
        writer = _Parquet(lambda found: file.write_table(pa.Table.from_pylist(found, schema)))
        yield writer
        writer.flush()


class _Parquet:
    """Rows are collected, and written `_GROUP_ROWS` at a time.

    Args:
        write: writes rows to the file.
    """

    def __init__(self, write: Callable[[list[dict[str, Any]]], None]) -> None:
        self._write = write
        self._rows: list[dict[str, Any]] = []

    def write(self, prediction: Prediction) -> None:
        self._rows.append(_escaped(prediction))
        if len(self._rows) == _GROUP_ROWS:
            self.flush()

    def flush(self) -> None:
        if self._rows:
            self._write(self._rows)
        self._rows = []
