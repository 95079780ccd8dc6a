"""Predictions as rows of text, written as they come: a table, CSV, or a JSON object a line."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, Protocol

from deepfake.common.errors import PipelineError
from deepfake.common.text import printable
from deepfake.serving.detector import Prediction

_BY_SUFFIX = {".txt": "table", ".csv": "csv", ".json": "json", ".jsonl": "json"}
_COLUMNS = ("name", "score", "verdict", "reason")
# What a spreadsheet takes for the beginning of a formula.
_FORMULA = ("=", "+", "-", "@")


class Writer(Protocol):
    def write(self, prediction: Prediction) -> None: ...


def writer(file: IO[str], format: str) -> Writer:
    """What writes predictions to an open file; the format is `table`, `csv` or `json`."""
    writers: dict[str, Callable[[IO[str]], Writer]] = {"table": _Table, "csv": _Csv, "json": _Json}
    return writers[format](file)


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
