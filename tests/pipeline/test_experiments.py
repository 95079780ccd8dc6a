"""However an experiment is made, MLflow has one current row of each model for it afterwards."""

import json
import os
import re
import signal
import time
from pathlib import Path

import mlflow
import pytest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def made(computed_clone):
    """A clone of its own whose first run is done and committed, and written to a new store."""
    computed_clone.run("python", "-m", "tools.sync")
    return computed_clone


def store(clone):
    return mlflow.MlflowClient(f"sqlite:///{clone.path}/mlflow.db")


def search(client, filter_string="", experiment="deepfake-pipeline"):
    experiment = client.get_experiment_by_name(experiment)
    return client.search_runs([experiment.experiment_id], filter_string)


def current(client, name):
    return search(client, f"tags.experiment = '{name}' and tags.current = 'true'")


def assert_rows(clone, name, client=None, parameters=()):
    """The two rows of experiment `name`: whole, right, and their artifacts there."""
    client = client or store(clone)
    found = {run.data.tags["row"]: run for run in current(client, name)}
    assert len(current(client, name)) == 2
    assert set(found) == {"baseline", "image"}
    for model, run in found.items():
        assert run.info.run_name == f"{model} · {name}"
        assert run.info.status == "FINISHED"
        assert run.data.tags["kind"] == "model"
        shown = clone.at(name, f"metrics/{model}.json")
        for split, values in json.loads(shown).items():
            for metric, value in values.items():
                assert run.data.metrics[f"{split}_{metric}"] == pytest.approx(value, abs=1e-6)
        assert run.data.params["data.source"] == "sample"
        assert {item.dataset.name.split("-")[1] for item in run.inputs.dataset_inputs} == {
            "train", "valid", "test",
        }  # fmt: skip
        run_id = run.info.run_id
        assert client.download_artifacts(run_id, "roc.png")
        assert client.download_artifacts(run_id, "predictions")
        (logged,) = run.outputs.model_outputs
        assert client.get_logged_model(logged.model_id).source_run_id == run_id
        mlflow.set_tracking_uri(client.tracking_uri)
        model_files = mlflow.artifacts.download_artifacts(f"runs:/{run_id}/{model}")
        assert "MLmodel" in os.listdir(model_files)
    history = client.get_metric_history(found["image"].info.run_id, "while_training_valid_roc_auc")
    steps = [point.step for point in history]
    assert steps[:3] == [1, 2, 4]  # of the solver: powers of 2, and the last
    assert steps == sorted(set(steps))
    for key, value in dict(parameters).items():
        assert found[key.partition(".")[0].replace("train", "image")].data.params[key] == value
    assert not search(client, "attributes.status = 'RUNNING'")
    return found


def test_synced(made):
    found = assert_rows(made, "workspace")
    assert "made_by" not in found["baseline"].data.tags


def test_named(made):
    made.run("dvc", "exp", "run", "-n", "named", "-S", "train.weight_decay=0.5")
    found = assert_rows(made, "named", parameters={"train.weight_decay": "0.5"})
    first = {run.data.tags["row"]: run for run in current(store(made), "workspace")}
    assert found["baseline"].data.tags["made_by"] == first["baseline"].info.run_id
    assert "made_by" not in found["image"].data.tags


def test_named_by_dvc_itself(made):
    printed = made.run("dvc", "exp", "run", "-S", "baseline.C=0.3")
    assert made.stages_run(printed) == ["baseline", "compare"]  # the detector stays
    name = re.search(r"Ran experiment\(s\): (\S+)", printed)[1]
    found = assert_rows(made, name, parameters={"baseline.C": "0.3"})
    assert "made_by" in found["image"].data.tags


def test_in_a_temporary_folder_that_is_gone_afterwards(made):
    made.run("dvc", "exp", "run", "--temp", "-n", "apart", "-S", "baseline.C=0.4")
    assert not list((made.path / ".dvc/tmp/exps").glob("tmp*"))
    found = assert_rows(made, "apart", parameters={"baseline.C": "0.4"})
    for run in found.values():
        assert run.info.artifact_uri.startswith(f"file://{made.path}/mlartifacts")


def test_evaluated_anew_without_training(made):
    made.run("dvc", "exp", "run", "-n", "strict", "-S", "evaluate.threshold=0.7")
    found = assert_rows(made, "strict")
    assert found["image"].data.params["evaluate.threshold"] == "0.7"
    assert "made_by" in found["image"].data.tags


def test_restored_by_dvc_without_running_a_stage(made):
    printed = made.run("dvc", "exp", "run", "-n", "restored", "-S", "train.weight_decay=0.5")
    assert made.stages_run(printed) == []
    assert current(store(made), "restored") == []
    printed = made.run("python", "-m", "tools.sync")
    assert "restored: baseline" in printed
    assert "restored: image" in printed
    found = assert_rows(made, "restored", parameters={"train.weight_decay": "0.5"})
    named = {run.data.tags["row"]: run for run in current(store(made), "named")}
    assert found["image"].data.tags["made_by"] == named["image"].info.run_id
    assert "every experiment has its two rows" in made.run("python", "-m", "tools.sync")


def test_applied(made):
    made.run("git", "checkout", "-q", ".")
    made.run("dvc", "exp", "apply", "named")
    assert "every experiment has its two rows" in made.run("python", "-m", "tools.sync")
    assert_rows(made, "named")


def test_repro_back_and_forth_makes_the_earlier_row_the_current_one_again(made):
    made.run("git", "checkout", "-q", ".")
    made.run("dvc", "checkout")
    before = {run.info.run_id for run in current(store(made), "workspace")}
    made.set(baseline={"C": 0.6})
    made.run("dvc", "repro")
    assert_rows(made, "workspace")
    made.run("git", "checkout", "-q", ".")
    made.run("dvc", "repro")
    made.run("python", "-m", "tools.sync")
    assert {run.info.run_id for run in current(store(made), "workspace")} == before


def test_failed(made):
    arguments = ["-S", "train.hidden=[8]", "-S", "train.learning_rate=1e30"]
    printed = made.run("dvc", "exp", "run", "-n", "failed", *arguments, fails=True)
    assert "diverged" in printed
    assert current(store(made), "failed") == []
    (run,) = search(store(made), "tags.experiment = 'failed' and tags.stage = 'train'")
    assert run.info.status == "FAILED"
    made.run("git", "checkout", "-q", ".")


def test_killed(made):
    """`kill -9` in the middle of training; the same experiment is then run again."""
    # With a hidden layer, as without one the head is solved for at once, in no epochs.
    arguments = ["dvc", "exp", "run", "-n", "killed", "-S", "train.hidden=[8]",
                 "-S", "train.epochs=100000", "-S", "train.patience=100000"]  # fmt: skip
    process = made.start(*arguments)
    deadline = time.monotonic() + 300
    while not search(store(made), "tags.experiment = 'killed' and tags.stage = 'train'"):
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < deadline
        time.sleep(0.5)
    training = made.children(process, "stages.train")
    assert training
    for child in training:
        child.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode != 0
    (run,) = search(store(made), "tags.experiment = 'killed' and tags.stage = 'train'")
    assert run.info.status == "RUNNING"
    made.run("git", "checkout", "-q", ".")
    made.run("dvc", "exp", "run", "-n", "killed", "-S", "train.epochs=5")
    assert store(made).get_run(run.info.run_id).info.status == "KILLED"
    assert_rows(made, "killed", parameters={"train.epochs": "5"})


@pytest.mark.parametrize("file", ["image.keras", "detector.keras"])
def test_a_model_leads_to_its_runs(made, file):
    made.run("git", "checkout", "-q", ".")
    made.run("dvc", "checkout")
    printed = made.run("python", "-m", "tools.show", f"data/models/{file}")
    (image,) = (run for run in current(store(made), "workspace") if run.data.tags["row"] == "image")
    assert f"run {image.info.run_id}" in printed
    assert image.data.tags["dvc_lock"] in printed


def test_a_run_leads_to_the_code_and_the_machine(made):
    (row,) = (run for run in current(store(made), "named") if run.data.tags["row"] == "image")
    assert row.data.tags["git_revision"] == made.run("git", "rev-parse", "HEAD").strip()
    assert row.data.tags["git_dirty"] == "true"
    patch = store(made).download_artifacts(row.info.run_id, "lineage/changes.patch")
    assert "weight_decay: 0.5" in Path(patch).read_text()
    environment = store(made).download_artifacts(row.info.run_id, "lineage/environment.json")
    assert json.loads(Path(environment).read_text())["packages"]["tensorflow"]
