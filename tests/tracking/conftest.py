"""A repository with an MLflow store, for each test its own."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest


@pytest.fixture(autouse=True)
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A repository that DVC names, while the work goes on in another folder."""
    root, working = tmp_path / "repository", tmp_path / "working"
    root.mkdir()
    working.mkdir()
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "DVC_EXP_NAME", "DVC_EXP_BASELINE_REV"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DVC_ROOT", str(root))
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.chdir(working)
    yield root
    while mlflow.active_run() is not None:
        mlflow.end_run()


@pytest.fixture
def store(empty_store: Path, repository: Path) -> Path:
    """The repository, with an empty store."""
    shutil.copy(empty_store, repository / "mlflow.db")
    return repository
