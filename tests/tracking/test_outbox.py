"""Runs that the store did not take are kept and delivered, whole and once."""

import shutil
from pathlib import Path
from typing import Any

import joblib
import mlflow
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from deepfake.common.errors import PipelineError
from deepfake.tracking import store as tracking_store
from deepfake.tracking.outbox import tidy
from deepfake.tracking.run import Run, start_run
from tests.support.tracking import BEST_EFFORT, NOBODY, client, outbox, recorded, run, trained


def write_everything(record: Run) -> None:
    Path("plots").mkdir(exist_ok=True)
    Path("plots/a.csv").write_text("1")
    record.params({"train.epochs": 3})
    for epoch, loss in ((1, 0.7), (2, 0.5)):
        record.metrics({"loss": loss}, epoch)
    record.files(["plots"], "plots")
    record.text("text", "lineage/note.txt")
    table = pd.DataFrame({"label": [0, 1], "bytes": [10, 20]})
    record.data(table, "metadata-train", "train", "data/metadata")
    joblib.dump(LogisticRegression().fit(table[["bytes"]], [0, 1]), "model.joblib")
    record.sklearn_model("model.joblib", table[["bytes"]])
    record.tags({"model_sha256": "aa"})
    record.current()


def assert_everything(root: Path, found: Any) -> None:
    assert found.info.status == "FINISHED"
    assert found.data.params == {"train.epochs": "3"}
    history = client(root).get_metric_history(found.info.run_id, "loss")
    assert [(point.step, point.value) for point in history] == [(1, 0.7), (2, 0.5)]
    files = Path(client(root).download_artifacts(found.info.run_id, ""))
    assert (files / "plots" / "a.csv").read_text() == "1"
    assert (files / "lineage" / "note.txt").read_text() == "text"
    assert [item.dataset.name for item in found.inputs.dataset_inputs] == ["metadata-train"]
    assert len(found.outputs.model_outputs) == 1
    loaded = mlflow.sklearn.load_model(f"runs:/{found.info.run_id}/image")
    assert loaded.predict(pd.DataFrame({"bytes": [10, 20]})).shape == (2,)
    assert found.data.tags["current"] == "true"


def test_what_nobody_took_is_kept_and_delivered_by_the_next_run(
    store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", NOBODY)
    with start_run(BEST_EFFORT, stage="train", kind="model", name="image") as record:
        write_everything(record)
    assert "the next run, or `make sync`, delivers it" in capsys.readouterr().err
    assert len(outbox(store)) == 1
    shutil.rmtree("plots")  # the workspace moves on
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    mlflow.set_tracking_uri(f"sqlite:///{store}/mlflow.db")
    with run():
        pass
    assert outbox(store) == []
    kept, later = recorded(store)
    assert kept.info.start_time < later.info.start_time
    assert_everything(store, kept)


def test_training_and_evaluation_that_were_both_kept_become_one_run(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", NOBODY)
    trained("aa", BEST_EFFORT)
    with start_run(
        BEST_EFFORT, stage="evaluate", kind="model", name="image", model_sha256="aa"
    ) as record:
        record.metrics({"test_roc_auc": 0.9})
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert tidy(BEST_EFFORT) == 2
    (only,) = recorded(store)
    assert only.data.tags["stage"] == "train, evaluate"
    assert only.data.metrics == {"test_roc_auc": 0.9}


@pytest.mark.parametrize("operations", range(10))
def test_a_store_that_fails_at_any_moment_gets_the_whole_run_later_and_once(
    store: Path, monkeypatch: pytest.MonkeyPatch, operations: int
) -> None:
    apply, done = tracking_store.apply, []

    def failing(*arguments: Any) -> None:
        done.append(arguments)
        if len(done) == operations + 1:
            raise ConnectionError("the server went down")
        apply(*arguments)

    monkeypatch.setattr(tracking_store, "apply", failing)
    with start_run(BEST_EFFORT, stage="train", kind="model", name="image") as record:
        write_everything(record)
    assert len(outbox(store)) == 1
    monkeypatch.setattr(tracking_store, "apply", apply)
    assert tidy(BEST_EFFORT) == 1
    assert tidy(BEST_EFFORT) == 0
    (only,) = recorded(store)
    assert_everything(store, only)


def test_a_delivery_that_fails_is_continued_by_the_next_one(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", NOBODY)
    with start_run(BEST_EFFORT, stage="train", kind="model", name="image") as record:
        write_everything(record)
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    mlflow.set_tracking_uri(f"sqlite:///{store}/mlflow.db")
    apply = tracking_store.apply

    def failing(run_id: str, operation: dict[str, Any], root: Path) -> None:
        if operation["do"] == "files":
            raise ConnectionError("the server went down")
        apply(run_id, operation, root)

    monkeypatch.setattr(tracking_store, "apply", failing)
    for _ in range(2):
        with pytest.raises(ConnectionError):
            tidy(BEST_EFFORT)
    (begun,) = recorded(store)
    # As the next process sees it, when the one that began the run is gone.
    client(store).set_terminated(begun.info.run_id, "KILLED")
    monkeypatch.setattr(tracking_store, "apply", apply)
    assert tidy(BEST_EFFORT) == 1
    (only,) = recorded(store)
    assert_everything(store, only)


def test_a_run_with_metrics_that_are_no_numbers_is_kept_and_delivered(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as away:
        away.setenv("MLFLOW_TRACKING_URI", NOBODY)
        with start_run(BEST_EFFORT, stage="train", kind="model") as record:
            record.metrics({"loss": float("nan"), "worst": float("inf")})
    assert tidy(BEST_EFFORT) == 1
    (only,) = recorded(store)
    assert set(only.data.metrics) == {"loss", "worst"}


def test_what_cannot_be_deleted_after_delivery_is_not_delivered_again(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as away:
        away.setenv("MLFLOW_TRACKING_URI", NOBODY)
        trained("aa", BEST_EFFORT)
    monkeypatch.setattr(shutil, "rmtree", lambda *_, **__: None)  # as with open files on a network
    assert [tidy(BEST_EFFORT), tidy(BEST_EFFORT)] == [1, 0]
    assert len(recorded(store)) == 1


def test_a_run_that_is_required_is_not_kept(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", NOBODY)
    with pytest.raises(PipelineError), run():
        pass
    assert outbox(repository) == []


@pytest.mark.parametrize("name", [".DS_Store", "._1-2", "2024-notes.txt", "1-1", ".1-x"])
def test_foreign_files_in_the_outbox_are_left_alone(
    store: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", NOBODY)
    trained("aa", BEST_EFFORT)
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    foreign = store / "cache" / "outbox" / name
    foreign.write_text("somebody else's")
    with run():
        pass
    assert tidy(BEST_EFFORT) == 0
    assert len(recorded(store)) == 2
    assert foreign.read_text() == "somebody else's"


def test_what_a_killed_process_left_half_kept_is_deleted(store: Path) -> None:
    abandoned = store / "cache" / "outbox" / ".1700000000000000000-4194305"  # above any process id
    abandoned.mkdir(parents=True)
    assert tidy(BEST_EFFORT) == 0
    assert not abandoned.exists()
