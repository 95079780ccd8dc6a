"""Runs in a real SQLite store: which are found, continued, current, killed."""

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from deepfake.common.environment import repository as named_repository
from deepfake.tracking.run import start_run
from deepfake.tracking.store import find
from tests.support.tracking import REQUIRED, client, evaluated, recorded, run, trained


def test_the_run_of_a_model_is_continued_by_another_stage(store: Path) -> None:
    trained("aa")
    trained("bb")
    evaluated("aa")
    first, second = recorded(store)
    assert first.data.tags["stage"] == "train, evaluate"
    assert first.data.params == {"train.epochs": "3"}
    assert first.data.metrics == {"test_roc_auc": 0.9}
    assert first.info.status == "FINISHED"
    assert second.data.tags["stage"] == "train"
    assert second.data.metrics == {}


def test_a_model_without_a_run_gets_one_that_names_it(store: Path) -> None:
    trained("aa")
    evaluated("cc")
    assert [r.data.tags["model_sha256"] for r in recorded(store)] == ["aa", "cc"]


def test_a_stage_does_not_continue_its_own_run(store: Path) -> None:
    evaluated("aa")
    evaluated("aa")
    assert [r.data.tags["stage"] for r in recorded(store)] == ["evaluate", "evaluate"]


def test_the_run_of_another_dvc_experiment_is_not_continued(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained("aa")
    monkeypatch.setenv("DVC_EXP_NAME", "urban-otter")
    evaluated("aa")
    assert len(recorded(store)) == 2


def test_the_run_of_another_mlflow_experiment_is_not_continued(store: Path) -> None:
    trained("aa", REQUIRED.model_copy(update={"experiment": "others"}))
    evaluated("aa")
    assert len(recorded(store)) == 1


def test_evaluating_a_model_again_records_the_parameter_that_was_used(store: Path) -> None:
    trained("aa")
    for threshold in (0.5, 0.9):
        with start_run(
            REQUIRED, stage="evaluate", kind="model", name="image", model_sha256="aa"
        ) as record:
            record.params({"evaluate": {"threshold": threshold}})
            record.metrics({"test_recall": 1 - threshold})
    last = next(r for r in recorded(store) if r.data.metrics["test_recall"] < 0.2)
    assert last.data.params["evaluate.threshold"] == "0.9"


def test_one_row_of_a_name_is_current_for_each_experiment(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for experiment, name in (("a", "image"), ("a", "image"), ("a", "baseline"), ("b", "image")):
        monkeypatch.setenv("DVC_EXP_NAME", experiment)
        with start_run(REQUIRED, stage="train", kind="model", name=name) as record:
            record.current()
    assert [found.data.tags["current"] for found in recorded(store)] == [
        "false",
        "true",
        "true",
        "true",
    ]


RECORD = """
import sys
from deepfake.tracking.failures import could_not_log
from deepfake.tracking.run import start_run
from deepfake.params import TrackingParams
settings = TrackingParams(experiment="faces", policy="required", deadline_seconds=120)
with start_run(settings, stage=sys.argv[1], kind="data") as record:
    record.metrics({"number": 1})
"""


@pytest.mark.slow
def test_four_processes_may_open_a_fresh_store_at_once(
    repository: Path, python: Callable[..., tuple[list[str], dict[str, str]]]
) -> None:
    processes = []
    for number in range(4):
        command, environment = python(RECORD, f"stage{number}", DVC_ROOT=str(repository))
        processes.append(subprocess.Popen(command, env=environment))
    assert [process.wait(timeout=300) for process in processes] == [0] * 4
    assert {r.data.tags["stage"] for r in recorded(repository)} == {
        f"stage{number}" for number in range(4)
    }


@pytest.mark.slow
def test_a_store_is_not_left_half_made_by_a_killed_process(
    repository: Path, python: Callable[..., tuple[list[str], dict[str, str]]]
) -> None:
    command, environment = python(RECORD, "train", DVC_ROOT=str(repository))
    # Of these, the one in which MLflow makes its tables has some of them when it is this large.
    files = [repository / name for name in ("mlflow.db", "mlflow.db-new")]
    with subprocess.Popen(command, env=environment) as begun:
        while not any(made.exists() and made.stat().st_size > 300_000 for made in files):
            assert begun.poll() is None
            time.sleep(0.001)
        begun.kill()
    subprocess.run(command, env=environment, check=True, timeout=300)
    assert [run.info.status for run in recorded(repository)] == ["FINISHED"]
    assert sorted(file.name for file in repository.glob("mlflow.db*")) == ["mlflow.db"]


DIE = """
import os, signal
from deepfake.tracking.failures import could_not_log
from deepfake.tracking.run import start_run
from deepfake.params import TrackingParams
settings = TrackingParams(experiment="faces", policy="required", deadline_seconds=120)
with start_run(settings, stage="train", kind="model") as record:
    record.metrics({"number": 1})
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.slow
def test_the_run_of_a_killed_process_is_marked_and_one_that_goes_on_is_not(
    store: Path, python: Callable[..., tuple[list[str], dict[str, str]]]
) -> None:
    command, environment = python(DIE, DVC_ROOT=str(store))
    assert subprocess.run(command, env=environment, timeout=300).returncode == -9
    assert recorded(store)[0].info.status == "RUNNING"
    with run():
        with run():
            pass
        assert [found.info.status for found in recorded(store)] == [
            "KILLED",
            "RUNNING",
            "FINISHED",
        ]


@pytest.fixture(params=["o'neil", 'the "best"', """o'neil's "best\""""], ids=["'", '"', "both"])
def quoted(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    empty_store: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """A repository with quotes in its path, and a store."""
    root = tmp_path / request.param
    root.mkdir()
    (root / "mlflow.db").write_bytes(empty_store.read_bytes())
    monkeypatch.setenv("DVC_ROOT", str(root))
    return root


def test_quotes_in_the_path_of_the_repository_are_no_obstacle(quoted: Path) -> None:
    Path("a.txt").write_text("text")
    trained("aa")
    evaluated("aa")
    (only,) = recorded(quoted)
    assert only.data.tags["stage"] == "train, evaluate"
    for _ in range(2):
        with start_run(REQUIRED, stage="train", kind="model", name="image") as record:
            record.files(["a.txt"])
            record.current()
    assert Path(client(quoted).download_artifacts(record.run_id, "a.txt")).read_text() == "text"
    assert [r.data.tags.get("current") for r in recorded(quoted)] == [None, "false", "true"]
    (found,) = find(REQUIRED, repository=only.data.tags["repository"], current="true")
    assert found.run_id == record.run_id
    assert str(named_repository()) in found.tags["repository"]


@pytest.mark.parametrize("value", ["a'b", 'a"b', """a'b"c""", "a\\b", "a%b", "`a`", "a' or '1", ""])
def test_runs_are_found_by_any_value_of_a_tag(store: Path, value: str) -> None:
    for tag in (value, "another"):
        with run() as record:
            record.tags({"model": tag})
    assert [found.tags["model"] for found in find(REQUIRED, model=value)] == [value]
