"""The outbox, `cache/outbox/`: runs that could not be logged, kept until the store takes them.

Each run is a folder named `<time>-<process id>` with `record.json` and copies of the files to log.
While its process is working on it, the name begins with a dot. What can never be delivered is moved
to `cache/outbox/undeliverable/`. Anything else in the outbox is left alone.
"""

import json
import os
import re
import shutil
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import psutil
from pydantic import TypeAdapter

from deepfake.common.environment import repository
from deepfake.common.files import write_text
from deepfake.params import TrackingParams
from deepfake.tracking import failures, store
from deepfake.tracking.connection import client
from deepfake.tracking.record import Operation, Record
from deepfake.tracking.waiting import allow, locked

_NAME = re.compile(r"(?P<unfinished>\.?)\d+-\d+")
_SET_ASIDE = "undeliverable"
_UNKNOWN = "RESOURCE_DOES_NOT_EXIST"  # MLflow's word for a run that it does not have
_REFUSALS = ("BAD_REQUEST", "INVALID_PARAMETER_VALUE")  # that MLflow would repeat every time


def new_place() -> Path:
    """Name a folder, not yet created, in which this process can assemble a run."""
    return _outbox() / f".{time.time_ns()}-{os.getpid()}"


def keep(record: Record, place: Path) -> None:
    """Put a record, with copies of its files, where `deliver` finds it; `place` is `new_place`'s.
    A failure is printed."""
    try:
        place.mkdir(parents=True, exist_ok=True)
        record.operations = list(_copied(record.operations, place))
        write_text(place / "record.json", json.dumps(asdict(record)))
        place.rename(_outbox() / place.name.removeprefix("."))
        print("it is kept: the next run, or `make sync`, delivers it", file=sys.stderr)
    except OSError as error:
        print(f"warning: it could not be kept for later either: {error}", file=sys.stderr)


def _copied(operations: Iterable[Operation], place: Path) -> Iterator[Operation]:
    """The operations, with the files that they name copied into `place`. Without those whose file
    is not there: it could not be logged either."""
    for number, operation in enumerate(operations):
        if "path" not in operation:
            yield operation
        elif (source := Path(operation["path"])).exists():
            target = place / str(number) / source.name
            target.parent.mkdir()
            copy = shutil.copytree if source.is_dir() else shutil.copy2
            copy(source, target)
            yield {**operation, "path": f"{number}/{source.name}"}


def deliver() -> int:
    """Write the runs that are kept to the store, and set aside what can never be written.

    Returns:
        How many were written.

    Raises:
        Exception: the first that the store raised; the runs not delivered stay. After a
            `TimeoutError` no other run is tried.
    """
    _remove_abandoned()
    waiting = sorted(_runs(unfinished=False))
    if not waiting:
        return 0
    delivered, failed = 0, list[Exception]()
    with locked(Path(f"{_outbox()}.lock")):
        for place in filter(Path.exists, waiting):  # another process may have been faster
            try:
                _deliver(place)
                delivered += 1
            except TimeoutError:
                raise
            except Exception as error:
                if _for_good(error):
                    _set_aside(place, error)
                else:
                    failed.append(error)
    if failed:
        raise failed[0]
    return delivered


def tidy(settings: TrackingParams) -> int:
    """Mark runs whose process is gone and deliver what is kept; returns how many were delivered."""
    allow(settings.deadline_seconds)
    store.mark_killed(settings.experiment)
    return deliver()


def _deliver(place: Path) -> None:
    record = _read(place)
    if record.run_id is not None:
        try:
            client().get_run(record.run_id)
        except Exception as error:
            if getattr(error, "error_code", None) != _UNKNOWN:
                raise
            record.run_id = None  # it was begun in another store
    if record.run_id is None:
        store.open_run(record)
        # Kept at once: if the rest fails, the next delivery goes on with this run.
        write_text(place / "record.json", json.dumps(asdict(record)))
    assert record.run_id is not None
    for operation in record.operations:
        with suppress(FileNotFoundError):  # somebody deleted the copy
            store.apply(record.run_id, operation, place)
    # Between two deliveries it may have been taken for the run of a process that was killed.
    if client().get_run(record.run_id).info.status in ("RUNNING", "KILLED"):
        client().set_terminated(record.run_id, record.status, record.end)
    # Under an unfinished name: what cannot be deleted now is not delivered twice.
    done = place.rename(place.with_name(f".{place.name}"))
    shutil.rmtree(done, ignore_errors=True)


def _read(place: Path) -> Record:
    """Read the record in `place`.

    Raises:
        ValueError: it is not a record, or it names a file outside `place`.
    """
    file = place / "record.json"
    if not file.is_file():
        raise ValueError("record.json is missing")
    record = TypeAdapter(Record).validate_json(file.read_bytes())
    for named in (operation["path"] for operation in record.operations if "path" in operation):
        found = [place / named, *(place / named).rglob("*")]
        if not all(path.resolve().is_relative_to(place.resolve()) for path in found):
            raise ValueError(f"it names a file outside its folder: {named}")
    return record


def _for_good(error: Exception) -> bool:
    """Whether an error lies in the record, so that no later attempt can succeed."""
    if isinstance(error, OSError):
        return False
    broken = isinstance(error, ValueError | TypeError | LookupError)
    return broken or getattr(error, "error_code", None) in _REFUSALS


def _set_aside(place: Path, error: Exception) -> None:
    target = place.parent / _SET_ASIDE / place.name
    target.parent.mkdir(exist_ok=True)
    shutil.rmtree(target, ignore_errors=True)  # the same run, of which somebody made a copy
    place.rename(target)
    print(
        f"warning: the run {place.name} that was kept cannot be delivered: "
        f"{failures.reason(error)}. It is now in {target}",
        file=sys.stderr,
    )


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
