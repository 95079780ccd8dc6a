"""Unfinished work kept between runs.

DVC deletes a stage's outputs before the stage runs, so what a killed run had done is kept outside
of them, in a folder that git and DVC ignore. It is named after everything that decides the
result: work is only ever continued on the same inputs, parameters and code.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from deepfake.common.environment import repository
from deepfake.common.files import sha256_file

_LIBRARY = Path(__file__).parent
_PACKAGES = ("tensorflow", "keras", "numpy", "pillow")


@contextmanager
def unfinished(stage: str, settings: Any, inputs: Iterable[Path]) -> Iterator[Path]:
    """The folder for unfinished work of `stage`, removed when the block ends without an error.

    One process at a time has it; a second one on the same work, as queued experiments may be,
    gets a folder of its own.
    """
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    digest.update(json.dumps([version(name) for name in _PACKAGES]).encode())
    for path in [*sorted(inputs), *sorted(_LIBRARY.rglob("*.py"))]:
        digest.update(f"{path.name}\0{sha256_file(path)}\0".encode())
    place = repository() / "cache" / stage / digest.hexdigest()[:20]
    place.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(f"{place}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        place = place.with_name(f"{place.name}-{os.getpid()}")
    try:
        place.mkdir(parents=True, exist_ok=True)
        yield place
        shutil.rmtree(place, ignore_errors=True)
    finally:
        if lock.is_locked:
            lock.release()
            Path(lock.lock_file).unlink(missing_ok=True)
