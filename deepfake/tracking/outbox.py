"""The outbox, `cache/outbox/`: runs that could not be logged, kept until the store takes them.

Each run is a folder named `<time>-<process id>` with `record.json` and copies of the files to log.
While its process is working on it, the name begins with a dot. Anything else in the outbox is
left alone.
"""

import json
import os
import re
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import psutil
from filelock import FileLock

from deepfake.common.environment import repository
from deepfake.params import TrackingParams
from deepfake.tracking import store
from deepfake.tracking.record import Record

_NAME = re.compile(r"(?P<unfinished>\.?)\d+-\d+")


def new_place() -> Path:
    """Name a folder, not yet created, in which this process can assemble a run."""
    return _outbox() / f".{time.time_ns()}-{os.getpid()}"


def keep(record: Record, place: Path) -> None:
    """Put a record, with copies of its files, where `deliver` finds it; `place` is `new_place`'s.
    A failure is printed."""
    try:
        place.mkdir(parents=True, exist_ok=True)
        for number, operation in enumerate(record.operations):
            if "path" in operation and Path(operation["path"]).exists():
                source = Path(operation["path"])
                target = place / str(number) / source.name
                target.parent.mkdir()
                copy = shutil.copytree if source.is_dir() else shutil.copy2
                copy(source, target)
                operation["path"] = f"{number}/{source.name}"
        (place / "record.json").write_text(json.dumps(asdict(record)), encoding="utf-8")
        place.rename(_outbox() / place.name.removeprefix("."))
        print("it is kept: the next run, or `make sync`, delivers it", file=sys.stderr)
    except OSError as error:
        print(f"warning: it could not be kept for later either: {error}", file=sys.stderr)


def deliver() -> int:
    """Write the runs that are kept to the store; returns how many.

    Raises:
        Exception: the first that the store raised; the runs not delivered stay.
    """
    _remove_abandoned()
    waiting = sorted(_runs(unfinished=False))
    if not waiting:
        return 0
    failed: list[Exception] = []
    with FileLock(f"{_outbox()}.lock"):
        for place in filter(Path.exists, waiting):  # another process may have been faster
            try:
                _deliver(place)
            except Exception as error:
                failed.append(error)
    if failed:
        raise failed[0]
    return len(waiting)


def tidy(settings: TrackingParams) -> int:
    """Mark runs whose process is gone and deliver what is kept; returns how many were delivered."""
    store.mark_killed(settings.experiment)
    return deliver()


def _deliver(place: Path) -> None:
    record = Record(**json.loads((place / "record.json").read_text(encoding="utf-8")))
    client = store.client()
    if record.run_id is not None:
        try:
            client.get_run(record.run_id)
        except Exception:  # it was begun in another store
            record.run_id = None
    store.open_run(record)
    assert record.run_id is not None
    for operation in record.operations:
        # A path that is still absolute was not there to be copied, nor to be logged.
        if not Path(operation.get("path", "")).is_absolute():
            with suppress(FileNotFoundError):
                store.apply(record.run_id, operation, place)
    if client.get_run(record.run_id).info.status == "RUNNING":
        client.set_terminated(record.run_id, record.status, record.end)
    shutil.rmtree(place)


def _remove_abandoned() -> None:
    """Delete what processes that are gone were still putting together."""
    for place in _runs(unfinished=True):
        if not psutil.pid_exists(int(place.name.rpartition("-")[2])):
            shutil.rmtree(place, ignore_errors=True)


def _runs(unfinished: bool) -> Iterator[Path]:
    """The folders of runs in the outbox."""
    for place in _outbox().glob("*"):
        named = _NAME.fullmatch(place.name)
        if named and bool(named["unfinished"]) == unfinished and place.is_dir():
            yield place


def _outbox() -> Path:
    return repository() / "cache" / "outbox"
