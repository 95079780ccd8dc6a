"""What the tests of tracking share: policies, and how to look into the store."""

import functools
from pathlib import Path
from typing import Any

import mlflow

from deepfake.params import TrackingParams
from deepfake.tracking.run import start_run

REQUIRED = TrackingParams(experiment="faces", policy="required", deadline_seconds=60)
BEST_EFFORT = REQUIRED.model_copy(update={"policy": "best_effort"})
NOBODY = "http://user:secret@127.0.0.1:9"  # an address where no server answers

run = functools.partial(start_run, REQUIRED, stage="train", kind="model")


def client(root: Path) -> mlflow.MlflowClient:
    return mlflow.MlflowClient(f"sqlite:///{root}/mlflow.db")


def recorded(root: Path) -> list[Any]:
    """The runs in both experiments of the store, the oldest first."""
    found = [client(root).get_experiment_by_name(name) for name in ("faces", "faces-stages")]
    ids = [experiment.experiment_id for experiment in found if experiment is not None]
    return list(client(root).search_runs(ids, order_by=["start_time ASC"]))


def outbox(root: Path) -> list[Path]:
    """The runs that are kept."""
    return sorted((root / "cache" / "outbox").glob("[0-9]*"))


def trained(sha256: str, settings: TrackingParams = REQUIRED) -> None:
    """A run as `train` writes it."""
    with start_run(settings, stage="train", kind="model", name="image") as record:
        record.params({"train.epochs": 3})
        record.tags({"model_sha256": sha256})


def evaluated(sha256: str) -> None:
    """A run as `evaluate` writes it."""
    with start_run(
        REQUIRED, stage="evaluate", kind="model", name="image", model_sha256=sha256
    ) as record:
        record.metrics({"test_roc_auc": 0.9})
