"""Waiting for the store and for its locks, no longer than `tracking.deadline_seconds`."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from filelock import FileLock, Timeout

from deepfake.common import threads

_T = TypeVar("_T")
_SILENT = 5  # seconds that a lock is waited for without a word
_LEAST_RATE = 100_000  # bytes a second; a file that is uploaded more slowly is given up

_deadline = 30.0  # seconds; `allow` sets it


def allow(seconds: float) -> None:
    """Set how long this process waits for each answer of the store, and for each lock."""
    global _deadline
    _deadline = seconds


def deadline(upload: Path | None = None) -> float:
    """How long to wait, in seconds.

    Args:
        upload: a file or folder that is sent; it may take a second more for each 100 kB, and for
            each file.
    """
    if upload is None:
        return _deadline
    files = [upload] if upload.is_file() else [path for path in upload.rglob("*") if path.is_file()]
    return _deadline + sum(max(1.0, file.stat().st_size / _LEAST_RATE) for file in files)


def in_time(call: Callable[[], _T], seconds: float) -> _T:
    """Return what `call` returns, or raise what it raises, as `common.threads.in_time` does."""
    return threads.in_time(call, seconds, "tracking.deadline_seconds")


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock between processes during the block.

    After 5 s of waiting it says for whom it waits.

    Raises:
        TimeoutError: another process held the lock all the time that is allowed.
    """
    lock = FileLock(path)
    silent = min(_SILENT, _deadline)
    try:
        lock.acquire(timeout=silent)
    except Timeout:
        print(f"waiting for {_holder(path)}", file=sys.stderr, flush=True)
        try:
            lock.acquire(timeout=_deadline - silent)
        except Timeout:
            raise TimeoutError(
                f"gave up after {_deadline:.0f} s (tracking.deadline_seconds): waited for "
                f"{_holder(path)}"
            ) from None
    try:
        with suppress(OSError):  # a system may lock the file against writing, too
            path.write_text(str(os.getpid()))
        yield
    finally:
        lock.release()


def _holder(path: Path) -> str:
    """The process that holds a lock, as far as the lock file says which it is."""
    with suppress(OSError):
        if (number := path.read_text()).isdigit():
            return f"process {number}, which holds the lock {path}"
    return f"another process, which holds the lock {path}"
