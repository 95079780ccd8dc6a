"""Writing files so that a partial one never looks complete, and the same content gives the same
bytes."""

import hashlib
import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

JSON_DIGITS = 6


@contextmanager
def replacing(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it takes its place, on failure it goes."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix stays: writers such as matplotlib and Keras choose the format by it.
    partial = path.with_name(f".partial-{os.getpid()}-{path.name}")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: Path | str, text: str) -> None:
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8", newline="\n")


def rounded(value: Any) -> Any:
    """`value` with every float in it rounded to `JSON_DIGITS` decimals; NaN becomes None."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(item) for item in value]
    if isinstance(value, float):
        # Adding 0 turns -0.0, which a rounding may leave, into 0.0.
        return round(value, JSON_DIGITS) + 0.0 if math.isfinite(value) else None
    return value


def write_json(path: Path | str, value: Any) -> None:
    """Write `value` as indented JSON in the order given, floats rounded to `JSON_DIGITS`."""
    write_text(path, json.dumps(rounded(value), indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path | str) -> Any:
    return json.loads(Path(path).read_text(encoding="utf-8"))


def sha256_file(path: Path | str) -> str:
    """Hexadecimal SHA-256 of a file's content, read in pieces."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
