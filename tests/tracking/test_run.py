"""What `start_run` writes, into a real SQLite store and to a server that is not there."""

import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal

import mlflow
import pandas as pd
import psutil
import pytest

from deepfake.common.errors import PipelineError
from deepfake.tracking.outbox import tidy
from deepfake.tracking.run import start_run
from tests.support.tracking import BEST_EFFORT, NOBODY, REQUIRED, client, recorded, run


def test_parameters_are_logged_under_dotted_names(store: Path) -> None:
    with run() as record:
        record.params({"train": {"hidden": [128, 64], "fine_tune": {"flip": True}}, "seed": 7})
        record.params({"text": "as it is", "none": None})
    assert recorded(store)[0].data.params == {
        "train.hidden": "[128, 64]",
        "train.fine_tune.flip": "true",
        "seed": "7",
        "text": "as it is",
        "none": "null",
    }


def test_a_parameter_logged_before_stays_and_new_ones_are_added(store: Path) -> None:
    with run() as record:
        record.params({"a": 1})
        record.params({"a": 2, "b": 3})
    assert recorded(store)[0].data.params == {"a": "1", "b": "3"}


def test_a_long_parameter_is_cut(store: Path) -> None:
    with run() as record:
        record.params({"layers": ["block_6_expand_relu"] * 100})
    assert len(recorded(store)[0].data.params["layers"]) == 500


def test_numbers_are_logged_as_metrics_and_nothing_else(store: Path) -> None:
    with run() as record:
        record.metrics({"test": {"roc_auc": 0.75, "kept": True}, "count": 3, "name": "text"})
    assert recorded(store)[0].data.metrics == {"test_roc_auc": 0.75, "count": 3.0}


def test_metrics_of_epochs_keep_their_steps(store: Path) -> None:
    with run() as record:
        for epoch, loss in ((1, 0.7), (2, 0.5)):
            record.metrics({"loss": loss}, epoch)
    history = client(store).get_metric_history(recorded(store)[0].info.run_id, "loss")
    assert [(point.step, point.value) for point in history] == [(1, 0.7), (2, 0.5)]


def test_metrics_may_be_named_after_any_mode_of_an_image(store: Path) -> None:
    with run() as record:
        record.metrics({"coefficient": {"mode_I;16": 0.5}})


def test_a_run_is_named_and_tagged(store: Path) -> None:
    with start_run(REQUIRED, stage="train", kind="model", name="image") as record:
        record.tags({"cores": 2})
    found = recorded(store)[0]
    assert found.info.run_name == "image · workspace"
    assert found.info.status == "FINISHED"
    tags = found.data.tags
    assert (tags["stage"], tags["kind"], tags["cores"]) == ("train", "model", "2")
    assert (tags["experiment"], tags["git_revision"]) == ("workspace", "none")


def test_without_a_name_a_run_is_called_after_its_stage(store: Path) -> None:
    with run():
        pass
    assert recorded(store)[0].info.run_name == "train · workspace"


def test_a_run_of_a_dvc_experiment_says_so(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_EXP_NAME", "urban-otter")
    monkeypatch.setenv("DVC_EXP_BASELINE_REV", "abc123")
    with run():
        pass
    (found,) = recorded(store)
    tags = found.data.tags
    assert (tags["experiment"], tags["git_revision"]) == ("urban-otter", "abc123")
    assert found.info.run_name == "train · urban-otter"


def test_files_land_in_the_repository_wherever_the_stage_runs(store: Path) -> None:
    Path("plots").mkdir()
    Path("plots/a.csv").write_text("1")
    Path("report.md").write_text("text")
    with run() as record:
        record.files(["plots"], "plots")
        record.files(["report.md"])
    run_id = recorded(store)[0].info.run_id
    folder = store / "mlartifacts" / run_id / "artifacts"
    assert (folder / "plots" / "a.csv").read_text() == "1"
    assert (folder / "report.md").read_text() == "text"
    assert sorted(path.name for path in Path.cwd().iterdir()) == ["plots", "report.md"]


def test_a_table_is_logged_as_an_input(store: Path) -> None:
    table = pd.DataFrame({"label": [0, 1], "bytes": [10, 20]})
    with run() as record:
        record.data(table, "metadata-train", "train", "data/metadata")
    inputs = client(store).get_run(recorded(store)[0].info.run_id).inputs.dataset_inputs
    assert inputs[0].dataset.name == "metadata-train"
    assert inputs[0].tags[0].value == "train"
    assert '"num_rows": 2' in inputs[0].dataset.profile


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ValueError, "FAILED"),
        (PipelineError, "FAILED"),
        (KeyboardInterrupt, "KILLED"),
        (SystemExit, "KILLED"),
    ],
)
def test_a_block_that_does_not_end_well_marks_its_run(
    store: Path, error: type[BaseException], status: str
) -> None:
    with pytest.raises(error), run():
        raise error
    assert recorded(store)[0].info.status == status
    assert mlflow.active_run() is None


def test_a_run_id_in_the_environment_does_not_take_over(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_RUN_ID", "0" * 32)
    with run() as record:
        assert record.run_id != "0" * 32
    assert len(recorded(store)) == 1


def test_best_effort_goes_on_where_nobody_answers(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", NOBODY)
    with start_run(BEST_EFFORT, stage="train", kind="model") as record:
        record.params({"a": 1})
        record.metrics({"b": 2})
        record.files(["no such file"])
    told = capsys.readouterr().err
    assert told.count("warning: ") == 1
    assert "could not be logged to http://127.0.0.1:9: " in told
    assert "outputs are not affected" in told
    assert "secret" not in told


def test_required_stops_where_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", NOBODY)
    reached = []
    with pytest.raises(PipelineError, match=r"http://127\.0\.0\.1:9: .*`required`") as caught:  # noqa: SIM117
        with run():
            reached.append("block")
    assert not reached
    assert "secret" not in str(caught.value)


# MLflow remembers by this id, for the whole process, where a run's files go.
RUN = "run-of-this-server"


class Answer(BaseHTTPRequestHandler):
    """As much of an MLflow server as recording an empty run takes."""

    BODY = json.dumps(
        {
            "experiment": {"experiment_id": "1", "name": "faces", "lifecycle_stage": "active"},
            "run": {
                "info": {
                    "run_id": RUN,
                    "experiment_id": "1",
                    "run_name": "train",
                    "artifact_uri": f"mlflow-artifacts:/1/{RUN}/artifacts",
                },
                "data": {},
            },
        }
    ).encode()

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.BODY)))
        self.end_headers()
        self.wfile.write(self.BODY)

    do_POST = do_PUT = do_GET

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    """The address, with user and password, of a server that takes every run."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        yield f"http://user:secret@127.0.0.1:{listening.server_port}"
        listening.shutdown()


def test_no_password_is_printed_when_a_run_on_a_server_ends(
    server: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    with run() as record:
        assert record.run_id == RUN
    printed = capsys.readouterr()
    assert "secret" not in printed.out + printed.err


def test_best_effort_goes_on_after_a_failure_within_the_block(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with start_run(BEST_EFFORT, stage="train", kind="model") as record:
        record.files(["no such file"])
        record.metrics({"after": 1})
    assert capsys.readouterr().err.count("warning: ") == 1
    assert recorded(store)[0].data.metrics == {}


def test_required_stops_at_a_failure_within_the_block(store: Path) -> None:
    with pytest.raises(PipelineError, match="could not be logged"), run() as record:
        record.files(["no such file"])
    assert recorded(store)[0].info.status == "FAILED"


def stage(policy: Literal["required", "best_effort"], what: str) -> None:
    """A stage that logs something of every kind and may fail; prints how it went."""
    settings = REQUIRED.model_copy(update={"policy": policy})
    try:
        with start_run(
            settings, stage="train", kind="model", after=lambda: Path("after").write_text("written")
        ) as record:
            print("working")
            record.metrics({"loss": 0.5})
            if what == "fail":
                raise PipelineError("no luck")
            record.params({"train": {"epochs": 3}})
            record.tags({"a": 1})
            record.data(pd.DataFrame({"label": [0, 1], "size": [3, 4]}), "tables", "train", "here")
            record.text("words", "notes/words.txt")
            record.files(["no such file"] if what == "miss a file" else [])
            if what == "work":
                print("run", record.run_id)
    except PipelineError as error:
        print("error", error)


Printed = pytest.CaptureFixture[str]


def test_a_stage_writes_its_run_itself_and_leaves_no_process(store: Path, capsys: Printed) -> None:
    before = psutil.Process().children(recursive=True)
    stage("required", "work")
    assert psutil.Process().children(recursive=True) == before
    (found,) = recorded(store)
    assert capsys.readouterr().out.splitlines() == ["working", f"run {found.info.run_id}"]
    assert found.info.status == "FINISHED"
    assert found.data.metrics == {"loss": 0.5}
    assert found.data.params == {"train.epochs": "3"}
    assert found.data.tags["a"] == "1"
    assert [item.dataset.name for item in found.inputs.dataset_inputs] == ["tables"]
    text = mlflow.artifacts.load_text(f"{found.info.artifact_uri}/notes/words.txt")
    assert text == "words"
    assert Path("after").read_text() == "written"


def test_a_failing_stage_has_a_failed_run(store: Path, capsys: Printed) -> None:
    stage("required", "fail")
    assert "error no luck" in capsys.readouterr().out
    assert [run.info.status for run in recorded(store)] == ["FAILED"]
    assert not Path("after").exists()


def test_required_stops_before_any_work(monkeypatch: pytest.MonkeyPatch, capsys: Printed) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", NOBODY)
    stage("required", "work")
    printed = capsys.readouterr().out
    assert "error the run could not be logged" in printed
    assert "working" not in printed
    assert "secret" not in printed


def test_required_stops_where_something_cannot_be_logged(store: Path, capsys: Printed) -> None:
    stage("required", "miss a file")
    assert "error the run could not be logged" in capsys.readouterr().out
    assert [run.info.status for run in recorded(store)] == ["FAILED"]


def test_best_effort_keeps_what_cannot_be_logged(
    repository: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch, capsys: Printed
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", NOBODY)
    stage("best_effort", "work")
    done = capsys.readouterr()
    assert done.out.splitlines() == ["working", "run None"]
    assert "it is kept" in done.err
    assert "secret" not in done.err
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    shutil.copy(empty_store, repository / "mlflow.db")
    assert tidy(BEST_EFFORT) == 1
    assert recorded(repository)[0].data.metrics == {"loss": 0.5}


def fail() -> None:
    raise ConnectionError("the server went down")


def test_a_failure_of_what_comes_after_a_run_is_treated_as_the_policy_says(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with start_run(BEST_EFFORT, stage="train", kind="model", after=fail):
        pass
    assert "warning: the run could not be logged" in capsys.readouterr().err
    with pytest.raises(PipelineError, match="the server went down"), run(after=fail):
        pass
    assert [found.info.status for found in recorded(store)] == ["FINISHED", "FINISHED"]


def test_the_environment_is_logged_with_names_of_untracked_files_alone(store: Path) -> None:
    subprocess.run(["git", "init", "-q"], check=True)
    Path("token.txt").write_text("hush")
    with run() as record:
        pass
    lineage = Path(client(store).download_artifacts(record.run_id, "lineage"))
    environment = json.loads((lineage / "environment.json").read_text())
    assert environment["untracked_files"] == ["token.txt"]
    assert environment["packages"]["mlflow"] == mlflow.__version__
    assert "hush" not in (lineage / "environment.json").read_text()
    assert [path.name for path in lineage.iterdir()] == ["environment.json"]
