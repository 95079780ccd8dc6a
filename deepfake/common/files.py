"""Write files: an incomplete file never looks complete, and equal content gives equal bytes."""

import hashlib
import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

# Decimals of floats in JSON files.
JSON_DIGITS = 6


@contextmanager
def replacing(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path`, which is created if it does not exist.

    On success the temporary file replaces `path`; on failure it is deleted.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix is kept, because writers such as matplotlib and Keras choose the format by it.
    partial = path.with_name(f".partial-{os.getpid()}-{path.name}")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: Path | str, text: str) -> None:
    """Write `text` in UTF-8, with Unix line ends on every system."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8", newline="\n")


def rounded(value: Any) -> Any:
    """Round every float in nested dicts, lists and tuples to `JSON_DIGITS` decimals.

    NaN and infinities become None, and tuples become lists.
    """
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(item) for item in value]
    if isinstance(value, float):
        # Rounding may give -0.0; adding 0 turns it into 0.0.
        return round(value, JSON_DIGITS) + 0.0 if math.isfinite(value) else None
    return value


def write_json(path: Path | str, value: Any) -> None:
    """Write `value` as indented JSON, keys in the order given, floats as `rounded` gives them."""
    write_text(path, json.dumps(rounded(value), indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path | str) -> Any:
    """Read a JSON file in UTF-8."""
    return json.loads(Path(path).read_text(encoding="utf-8"))


def read_yaml(path: Path | str) -> Any:
    """Read a YAML file as it stands; `params.load` also checks the parameters."""
    # The loader in C where PyYAML has it: dvc.lock is long.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return yaml.load(Path(path).read_text(encoding="utf-8"), loader)


def sha256_file(path: Path | str) -> str:
    """Compute the hexadecimal SHA-256 of a file, reading it in pieces."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_table(path: Path | str, table: Any) -> None:
    """Write a small pandas table as CSV, floats with six decimals."""
    with replacing(path) as partial:
        table.to_csv(partial, index=False, float_format="%.6f", lineterminator="\n")
