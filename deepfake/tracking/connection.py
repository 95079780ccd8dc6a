"""MLflow, pointed at the store, and a client of the store whose calls end in time.

MLflow is imported inside functions: the import takes about two seconds.
"""

import logging
import os
import sqlite3
import warnings
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from deepfake.common import address
from deepfake.common.files import move
from deepfake.tracking.waiting import deadline, in_time


def load_mlflow() -> Any:
    """Import MLflow, quiet and pointed at the store."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "false")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    # Give up soon on a server that is down; the outbox keeps what is meant for it.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    # The address that it would print at the end of a run may hold a password.
    os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
    os.environ.pop("MLFLOW_RUN_ID", None)  # it would override the run that is meant
    import mlflow

    from deepfake.serving import answers

    answers.bound()
    answers.refuse_folders()
    for name in ("mlflow", "alembic", "urllib3"):  # urllib3 warns of retries, with the address
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="mlflow")
    mlflow.set_tracking_uri(address.uri())
    return mlflow


def client(upload: Path | None = None) -> Any:
    """An MLflow client of the store.

    Each call of a server ends in time, or raises `TimeoutError`. A file needs no such bound, and a
    call that was left to itself might be cut off while MLflow makes the tables.

    Args:
        upload: a file or folder that the client will send, which takes longer.
    """
    make = load_mlflow().MlflowClient
    return _InTime(make, deadline(upload)) if address.is_remote(address.uri()) else make()


class _InTime:
    """MLflow's client, with a deadline for making it and for each of its calls."""

    def __init__(self, make: Callable[[], Any], seconds: float) -> None:
        self._seconds = seconds
        self._client = in_time(make, seconds)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        call = getattr(self._client, name)
        return lambda *values, **named: in_time(lambda: call(*values, **named), self._seconds)


def require_usable() -> None:
    """Raise at once what is wrong with the address, or with a database file that cannot be opened:
    MLflow would go on trying for minutes.

    Raises:
        OSError, sqlite3.Error: what is wrong.
    """
    try:
        path = address.database(address.uri())
    except ValueError:  # its message may have a part of a password
        raise OSError(
            "MLFLOW_TRACKING_URI cannot be read as an address; in a user name or a password, write "
            "@ : / ? # % as %40 %3A %2F %3F %23 %25"
        ) from None
    if path is None:
        return
    if path.is_dir():
        raise IsADirectoryError("it is a directory, not a database: move it elsewhere")
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path, timeout=deadline())) as opened:
        opened.execute("PRAGMA schema_version")


def create_missing() -> None:
    """Make the database file of the store if there is none; call it under the store's lock.

    MLflow makes its tables in many steps, and cannot open a file in which a killed process left
    them half made. So it makes them in another file, which is then renamed.
    """
    path = address.database(address.uri())
    if path is None or (path.exists() and path.stat().st_size):
        return
    new = path.with_name(f"{path.name}-new")
    for left in (new, new.with_name(f"{new.name}-journal")):
        left.unlink(missing_ok=True)
    load_mlflow()
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    made = SqlAlchemyStore(address.sqlite(new), (path.parent / "mlartifacts").as_uri())
    made.engine.dispose()
    move(new, path)
