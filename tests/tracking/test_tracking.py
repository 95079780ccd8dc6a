"""The record of runs: a real SQLite store, a server that is not there, and several processes."""

import functools
import json
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import joblib
import mlflow
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from deepfake.common.errors import PipelineError
from deepfake.params import TrackingParams
from deepfake.tracking.run import Run, _apply, _could_not_log, start_run, tidy

REQUIRED = TrackingParams(experiment="faces", policy="required")
BEST_EFFORT = TrackingParams(experiment="faces", policy="best_effort")
NOBODY = "http://user:secret@127.0.0.1:9"


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with its tables and no experiment: making the tables takes seconds."""
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    mlflow.MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


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
    shutil.copy(empty_store, repository / "mlflow.db")
    return repository


run = functools.partial(start_run, REQUIRED, stage="train", kind="model")


def client(root: Path) -> mlflow.MlflowClient:
    return mlflow.MlflowClient(f"sqlite:///{root}/mlflow.db")


def recorded(root: Path) -> list[Any]:
    """The runs in the store, the oldest first."""
    found = client(root).get_experiment_by_name("faces")
    assert found is not None
    return list(client(root).search_runs([found.experiment_id], order_by=["start_time ASC"]))


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


def test_a_run_is_named_and_tagged(store: Path) -> None:
    with start_run(REQUIRED, stage="train", kind="model", name="image") as record:
        record.tags({"cores": 2})
    found = recorded(store)[0]
    assert found.info.run_name == "image"
    assert found.info.status == "FINISHED"
    tags = found.data.tags
    assert (tags["stage"], tags["kind"], tags["cores"]) == ("train", "model", "2")
    assert (tags["experiment"], tags["git_revision"]) == ("workspace", "none")


def test_without_a_name_a_run_is_called_after_its_stage(store: Path) -> None:
    with run():
        pass
    assert recorded(store)[0].info.run_name == "train"


def test_a_run_of_a_dvc_experiment_says_so(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_EXP_NAME", "urban-otter")
    monkeypatch.setenv("DVC_EXP_BASELINE_REV", "abc123")
    with run():
        pass
    tags = recorded(store)[0].data.tags
    assert (tags["experiment"], tags["git_revision"]) == ("urban-otter", "abc123")


def test_a_run_says_from_which_revision_it_comes_and_whether_that_was_changed(
    store: Path,
) -> None:
    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        done = subprocess.run(
            ["git", *identity, *arguments], capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    git("init")
    Path("code.py").write_text("1")
    git("add", "code.py")
    git("commit", "-m", "first")
    with run():
        pass
    Path("code.py").write_text("2")
    with run():
        pass
    tags = [found.data.tags for found in recorded(store)]
    assert [tag["git_dirty"] for tag in tags] == ["false", "true"]
    assert {tag["git_revision"] for tag in tags} == {git("rev-parse", "HEAD")}


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


def trained(sha256: str, settings: TrackingParams = REQUIRED) -> None:
    with start_run(settings, stage="train", kind="model", name="image") as record:
        record.params({"train.epochs": 3})
        record.tags({"model_sha256": sha256})


def evaluated(sha256: str) -> None:
    with start_run(
        REQUIRED, stage="evaluate", kind="model", name="image", model_sha256=sha256
    ) as record:
        record.metrics({"test_roc_auc": 0.9})


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


def test_a_run_id_in_the_environment_does_not_take_over(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_RUN_ID", "0" * 32)
    with run() as record:
        assert record.run_id != "0" * 32
    assert len(recorded(store)) == 1


def test_an_sklearn_model_can_be_loaded_from_its_run_and_used(store: Path) -> None:
    table = pd.DataFrame({"bytes": [1.0, 2.0, 3.0, 4.0], "has_exif": [True, False, True, False]})
    model = LogisticRegression().fit(table, [0, 0, 1, 1])
    joblib.dump(model, store / "model.joblib")
    with run() as record:
        record.sklearn_model(store / "model.joblib", table.head(2))
        uri = f"runs:/{record.run_id}/model"
    info = mlflow.models.get_model_info(uri)
    assert info.signature.inputs.input_names() == ["bytes", "has_exif"]
    assert info.signature.outputs is not None
    assert info.saved_input_example_info is not None
    loaded = mlflow.pyfunc.load_model(uri)
    assert np.array_equal(loaded.predict(table), model.predict_proba(table))
    assert (store / "mlartifacts" / "models").is_dir()
    assert list(Path.cwd().iterdir()) == []


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


@pytest.mark.parametrize(
    "address",
    [
        "http://user:secret@host:5000/path",
        "postgresql://user:secret@host/mlflow",
        "mysql://user:sec/secret@host/db",
        "mysql://user:s@secret@host/db",
    ],
)
def test_no_message_carries_a_password(
    address: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    _could_not_log(RuntimeError(f"tried {address} twice"), "best_effort")
    told = capsys.readouterr().err
    assert "secret" not in told
    assert told.count("host") == 2


class Answer(BaseHTTPRequestHandler):
    """As much of an MLflow server as recording an empty run takes."""

    BODY = json.dumps(
        {
            "experiment": {"experiment_id": "1", "name": "faces", "lifecycle_stage": "active"},
            "run": {
                "info": {"run_id": "r", "experiment_id": "1", "run_name": "train"},
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

    do_POST = do_GET

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
        assert record.run_id == "r"
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


def test_metrics_may_be_named_after_any_mode_of_an_image(store: Path) -> None:
    with run() as record:
        record.metrics({"coefficient": {"mode_I;16": 0.5}})


BESIDE = """
import os, signal, sys
from pathlib import Path
import numpy as np
import pandas as pd
from deepfake.tracking import run
from deepfake.common.errors import PipelineError
from deepfake.params import TrackingParams
settings = TrackingParams(experiment="faces", policy=sys.argv[1])
what = sys.argv[2]
def after():
    Path("after").write_text("mlflow" if "mlflow" in sys.modules else "nothing")
try:
    with start_run(settings, stage="train", kind="model", after=after) as record:
        print("working", flush=True)
        record.metrics({"loss": 0.5})
        if what == "kill the writer" and record.run_id:
            os.kill(record._helper.pid, signal.SIGKILL)
            os.waitpid(record._helper.pid, 0)
        if what == "fail":
            raise PipelineError("no luck")
        record.params({"train": {"epochs": 3}})
        record.tags({"a": 1})
        record.data(pd.DataFrame({"label": [0, 1], "size": [3, 4]}), "tables", "train", "here")
        record.text("words", "notes/words.txt")
        record.files(["no such file"] if what == "miss a file" else [])
        if what == "work":
            print("run", record.run_id, flush=True)
except PipelineError as error:
    print("error", error, flush=True)
print("mlflow" in sys.modules)
"""


@pytest.fixture
def beside(
    repository: Path, python: Callable[..., tuple[list[str], dict[str, str]]]
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run `BESIDE` in a process that has not loaded MLflow."""

    def call(policy: str, what: str, **environment: str) -> subprocess.CompletedProcess[str]:
        command, surroundings = python(BESIDE, policy, what, DVC_ROOT=str(repository))
        return subprocess.run(
            command, env={**surroundings, **environment}, capture_output=True, text=True, check=True
        )

    return call


Beside = Callable[..., subprocess.CompletedProcess[str]]


def test_the_stage_itself_does_not_load_mlflow(store: Path, beside: Beside) -> None:
    printed = beside("required", "work").stdout.splitlines()
    (found,) = recorded(store)
    assert printed == ["working", f"run {found.info.run_id}", "False"]
    assert found.info.status == "FINISHED"
    assert found.data.metrics == {"loss": 0.5}
    assert found.data.params == {"train.epochs": "3"}
    assert found.data.tags["a"] == "1"
    assert [item.dataset.name for item in found.inputs.dataset_inputs] == ["tables"]
    text = mlflow.artifacts.load_text(f"{found.info.artifact_uri}/notes/words.txt")
    assert text == "words"
    assert Path("after").read_text() == "mlflow"


def test_a_failing_stage_has_a_failed_run(store: Path, beside: Beside) -> None:
    assert "error no luck" in beside("required", "fail").stdout
    assert [run.info.status for run in recorded(store)] == ["FAILED"]
    assert not Path("after").exists()


def test_required_stops_before_any_work(beside: Beside) -> None:
    printed = beside("required", "work", MLFLOW_TRACKING_URI=NOBODY).stdout
    assert "error the run could not be logged" in printed
    assert "working" not in printed
    assert "secret" not in printed


def test_required_stops_where_something_cannot_be_logged(store: Path, beside: Beside) -> None:
    assert "error the run could not be logged" in beside("required", "miss a file").stdout
    assert [run.info.status for run in recorded(store)] == ["FAILED"]


def test_best_effort_keeps_what_cannot_be_logged(
    repository: Path, empty_store: Path, beside: Beside
) -> None:
    done = beside("best_effort", "work", MLFLOW_TRACKING_URI=NOBODY)
    assert done.stdout.splitlines() == ["working", "run None", "False"]
    assert "it is kept" in done.stderr
    assert "secret" not in done.stderr
    shutil.copy(empty_store, repository / "mlflow.db")
    assert tidy(BEST_EFFORT) == 1
    assert recorded(repository)[0].data.metrics == {"loss": 0.5}


@pytest.mark.parametrize("policy", ["best_effort", "required"])
def test_stage_outlives_the_process_that_writes(store: Path, beside: Beside, policy: str) -> None:
    done = beside(policy, "kill the writer")
    if policy == "required":
        assert "error this run could not be logged" in done.stdout
    else:
        assert done.stderr.count("warning: this run could not be logged") == 1
    tidy(BEST_EFFORT)
    assert [run.info.status for run in recorded(store)] == ["KILLED"]


@pytest.mark.slow
def test_keras_model_is_what_mlflow_would_have_logged(store: Path, tmp_path: Path) -> None:
    import keras

    pixels = keras.Input((None, None, 3), dtype="uint8", name="pixels")
    mean = keras.ops.mean(keras.ops.cast(pixels, "float32"), axis=(1, 2))
    model = keras.Model(pixels, keras.layers.Dense(1, "sigmoid")(mean / 255))
    model.save(tmp_path / "image.keras")
    with run() as record:
        record.keras_model(tmp_path / "image.keras")
        assert record.run_id is not None
    uri = f"models:/{client(store).get_run(record.run_id).outputs.model_outputs[0].model_id}"
    mlflow.set_tracking_uri(f"sqlite:///{store}/mlflow.db")
    image_files = np.arange(2 * 5 * 4 * 3, dtype="uint8").reshape(2, 5, 4, 3)
    expected = np.asarray(model(image_files))
    found = mlflow.pyfunc.load_model(uri).predict(image_files)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    np.testing.assert_allclose(np.asarray(mlflow.tensorflow.load_model(uri)(image_files)), expected)
    signature = mlflow.models.get_model_info(uri).signature
    assert "uint8" in str(signature.inputs)


RECORD = """
import sys
from deepfake.tracking import run
from deepfake.params import TrackingParams
settings = TrackingParams(experiment="faces", policy="required")
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


def outbox(root: Path) -> list[Path]:
    return sorted((root / "cache" / "outbox").glob("[0-9]*"))


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
    loaded = mlflow.sklearn.load_model(f"runs:/{found.info.run_id}/model")
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
    apply, done = _apply, []

    def failing(*arguments: Any) -> None:
        done.append(arguments)
        if len(done) == operations + 1:
            raise ConnectionError("the server went down")
        apply(*arguments)

    monkeypatch.setattr(run, "_apply", failing)
    with start_run(BEST_EFFORT, stage="train", kind="model", name="image") as record:
        write_everything(record)
    assert len(outbox(store)) == 1
    monkeypatch.setattr(run, "_apply", apply)
    assert tidy(BEST_EFFORT) == 1
    assert tidy(BEST_EFFORT) == 0
    (only,) = recorded(store)
    assert_everything(store, only)


def test_a_run_that_is_required_is_not_kept(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", NOBODY)
    with pytest.raises(PipelineError), run():
        pass
    assert outbox(repository) == []


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


DIE = """
import os, signal
from deepfake.tracking import run
from deepfake.params import TrackingParams
settings = TrackingParams(experiment="faces", policy="required")
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
