"""Write files: an incomplete file never looks complete, and equal content gives equal bytes.

And read them: a damaged one is named, with what brings it back.
"""

import hashlib
import json
import math
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from deepfake.common.errors import PipelineError, no_room
from deepfake.common.yaml12 import MOST_BYTES, parse_yaml

# Decimals of floats in JSON files.
JSON_DIGITS = 6
_PIECE = 1 << 20  # bytes read at a time


@contextmanager
def replacing(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path`, which is created if it does not exist.

    On success the temporary file replaces `path`, also if the power fails at once; on failure it
    is deleted.

    Raises:
        PipelineError: the disk is full.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix is kept, because writers such as matplotlib and Keras choose the format by it.
    partial = path.with_name(f".partial-{os.getpid()}-{path.name}")
    try:
        with writing(path, partial):
            yield partial
            move(partial, path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def writing(path: Path | str, partial: Path | None = None) -> Iterator[None]:
    """In the block, which writes `path`, an error that comes of a full disk is a `PipelineError`
    that says so, with what is free. `partial` has the bytes until it is renamed to `path`."""
    try:
        yield
    except PipelineError:
        raise
    except Exception as error:
        known = no_room(path, error, partial)
        if known is None:
            raise
        raise known from error


def read_regular(path: Path | str, most: int) -> bytes | None:
    """Read at most `most` bytes of a file, without waiting for what a pipe may bring.

    Returns:
        None if it is no regular file.

    Raises:
        OSError: it cannot be read.
    """
    pieces, left = [], most
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return None
            while left and (piece := file.read(min(left, _PIECE))):  # `left` at once is allocated
                pieces.append(piece)
                left -= len(piece)
    except OSError:
        if os.path.exists(path) and not os.path.isfile(path):  # a folder, a socket
            return None
        raise
    return b"".join(pieces)


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def move(path: Path, target: Path) -> None:
    """Rename a file or folder so that it survives a power failure: without `sync`, the disk may
    have the new name before it has the content, and then the content is lost."""
    sync(path)
    os.replace(path, target)
    sync(target.parent)


def sync(path: Path) -> None:
    """Wait until the disk has what was written to a file, or which names a folder holds."""
    if path.is_dir() and os.name == "nt":
        return  # Windows has no such call for folders
    number = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(number)
    finally:
        os.close(number)


@contextmanager
def reading(path: Path | str) -> Iterator[None]:
    """In the block, a file that cannot be read as what it should be is a `PipelineError`.

    Libraries raise errors of many kinds on a damaged file, from `ValueError` to their own. So the
    block should read and do nothing else. A missing file stays a `FileNotFoundError`.
    """
    try:
        yield
    except (PipelineError, FileNotFoundError, MemoryError):
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or repr(error)
        raise PipelineError(
            f"{path} is damaged: {reason}. `dvc checkout -f {path}` brings it back; if that does "
            "not, `dvc repro` makes it again"
        ) from error


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
    """Read a JSON file in UTF-8.

    Raises:
        PipelineError: it is damaged.
    """
    with reading(path):
        return json.loads(Path(path).read_text(encoding="utf-8"))


def read_yaml(path: Path | str) -> Any:
    """Read a YAML file as it stands; `params.load` also checks the parameters.

    Raises:
        PipelineError: in one line, why it cannot be read.
    """
    try:
        with open(path, encoding="utf-8") as file:
            return parse_yaml(file.read(MOST_BYTES + 1))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise PipelineError(f"cannot read {path}: {reason}") from None


def sha256_file(path: Path | str) -> str:
    """Compute the hexadecimal SHA-256 of a file, reading it in pieces."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_table(path: Path | str, table: Any) -> None:
    """Write a small pandas table as CSV, floats with six decimals."""
    with replacing(path) as partial:
        table.to_csv(partial, index=False, float_format="%.6f", lineterminator="\n")
