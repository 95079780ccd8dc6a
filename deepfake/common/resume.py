"""Unfinished work kept between runs.

DVC deletes a stage's outputs before the stage runs, so what a killed run had done is kept outside
of them, in a folder that git and DVC ignore.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from deepfake.common.environment import repository


@contextmanager
def unfinished(stage: str, key: str) -> Iterator[Path]:
    """A folder for the unfinished work of `stage`, removed when the block ends without an error.

    One process at a time has the folder; a second one with the same key, as queued experiments may
    be, gets a folder of its own.

    Args:
        stage: name of the stage.
        key: a digest of everything that decides the result: files, parameters, versions of
            packages. A run continues the work of an earlier one only under the same key.
    """
    folder = repository() / "cache" / stage / key
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(f"{folder}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        folder = folder.with_name(f"{key}-{os.getpid()}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        if lock.is_locked:
            lock.release()
            Path(lock.lock_file).unlink(missing_ok=True)
