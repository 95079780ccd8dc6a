"""What MLflow's page shows: names, descriptions, the saved view, models with their facts, links."""

import json
from pathlib import Path
from typing import Any

import joblib
import mlflow
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from deepfake.tracking import links, page
from deepfake.tracking.run import start_run
from deepfake.tracking.store import find
from tests.support.tracking import REQUIRED, client, recorded, run

NOTE = "mlflow.note.content"


def experiment(root: Path, name: str) -> Any:
    found = client(root).get_experiment_by_name(name)
    assert found is not None
    return found


def stage_run(stage: str) -> str:
    with start_run(REQUIRED, stage=stage, kind="data") as record:
        assert record.run_id is not None
        return record.run_id


def test_rows_and_runs_of_other_stages_are_in_two_experiments(store: Path) -> None:
    with start_run(REQUIRED, stage="train", kind="model", name="image"):
        pass
    stage_run("embed")
    for name, called in (("faces", "image · workspace"), ("faces-stages", "embed · workspace")):
        (only,) = client(store).search_runs([experiment(store, name).experiment_id])
        assert only.info.run_name == called


@pytest.mark.parametrize("name", ["faces", "faces-stages"])
def test_an_experiment_says_its_kind_and_what_to_look_for(store: Path, name: str) -> None:
    stage_run("embed")
    tags = experiment(store, name).tags
    assert tags["mlflow.experimentKind"] == "custom_model_development"
    assert "**Filters to copy:**" in tags[NOTE]


def test_every_filter_of_the_descriptions_is_one_that_mlflow_takes(store: Path) -> None:
    stage_run("embed")
    for name, rows in (("faces", 3), ("faces-stages", 3)):
        found = experiment(store, name)
        lines = [line for line in found.tags[NOTE].splitlines() if line.startswith("- ")]
        assert len(lines) == rows
        for line in lines:
            client(store).search_runs([found.experiment_id], line.split("`")[1])


def test_an_experiment_that_is_there_gets_what_it_lacks_and_keeps_the_users_words(
    store: Path,
) -> None:
    made = client(store).create_experiment("faces", tags={NOTE: "my faces"})
    stage_run("embed")
    tags = experiment(store, "faces").tags
    assert tags[NOTE] == "my faces"
    assert tags["mlflow.experimentKind"] == "custom_model_development"
    assert experiment(store, "faces").experiment_id == made


def test_the_address_opens_a_view_that_the_experiment_has(store: Path) -> None:
    stage_run("embed")
    found = experiment(store, "faces")
    address = page.rows_address(found.experiment_id)
    key = address.rpartition("viewStateShareKey=")[2]
    view = json.loads(found.tags[f"mlflow.sharedViewState.{key}"])
    state = json.loads(view["state"])
    assert state["orderByKey"] in state["selectedColumns"]
    assert client(store).search_runs([found.experiment_id], state["searchFilter"]) == []
    assert address.startswith(f"#/experiments/{found.experiment_id}/runs?")
    assert "workflowType=machine_learning" in address


def test_a_model_has_its_name_parameters_and_metrics_on_the_data(store: Path) -> None:
    table = pd.DataFrame({"label": [0, 1], "bytes": [10.0, 20.0]})
    joblib.dump(LogisticRegression().fit(table[["bytes"]], [0, 1]), "model.joblib")
    with start_run(REQUIRED, stage="baseline", kind="model", name="baseline") as record:
        record.params({"baseline": {"C": 2.0}})
        for split in ("train", "valid", "test"):
            record.data(table, f"metadata-{split}", split, "here")
        record.sklearn_model("model.joblib", table[["bytes"]])
        for _ in range(2):  # a run that is delivered later may be written twice
            record.scores({"valid": {"f1": 0.25}, "test": {"f1": 0.75}})
    (found,) = recorded(store)
    model = client(store).get_logged_model(found.outputs.model_outputs[0].model_id)
    assert model.name == "baseline"
    assert model.params == {"baseline.C": "2.0"}
    assert {(m.key, m.value, m.dataset_name) for m in model.metrics} == {
        ("valid_f1", 0.25, "metadata-valid"),
        ("test_f1", 0.75, "metadata-test"),
    }
    assert found.data.metrics == {"valid_f1": 0.25, "test_f1": 0.75}
    assert Path(mlflow.artifacts.download_artifacts(f"runs:/{record.run_id}/baseline")).is_dir()


def lock(**commands: str) -> None:
    """Write a `dvc.lock` with these stages."""
    text = json.dumps({"stages": {stage: {"cmd": cmd} for stage, cmd in commands.items()}})
    Path("dvc.lock").write_text(text)


def row_and_links(stages: list[str]) -> dict[str, str]:
    """The tags of a new image row, linked to the runs of `stages`."""
    with start_run(REQUIRED, stage="train", kind="model", name="image") as record:
        pass
    row = find(REQUIRED, row="image")[0]
    assert row.run_id == record.run_id
    links.link(REQUIRED, row, stages, Path())
    return find(REQUIRED, row="image")[0].tags


def test_a_row_and_the_runs_it_comes_from_name_each_other(store: Path) -> None:
    lock(embed="embed")
    older, newer, comparison = stage_run("embed"), stage_run("embed"), stage_run("compare")
    tags = row_and_links(["ingest", "embed", "compare"])
    assert (tags["run_embed"], tags["run_compare"]) == (newer, comparison)
    assert "run_ingest" not in tags
    assert newer in tags[NOTE]
    named = {found.run_id: found.tags for found in find(REQUIRED, kind="data")}
    (row,) = find(REQUIRED, row="image")
    assert named[newer]["row_image"] == named[comparison]["row_image"] == row.run_id
    assert f"run_embed%20%3D%20%22{newer}" in named[newer][NOTE]
    assert "row_image" not in named[older]


def test_a_row_of_a_restored_stage_names_the_run_that_computed_it(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = {}
    for command in ("one", "another"):
        lock(embed=command)
        made[command] = stage_run("embed")
        row_and_links(["embed"])
    monkeypatch.setenv("DVC_EXP_NAME", "wide")
    lock(embed="one")
    assert row_and_links(["embed"])["run_embed"] == made["one"]
    lock(embed="never computed here")
    assert "run_embed" not in row_and_links(["embed"])


def test_a_note_that_the_user_wrote_stays(store: Path) -> None:
    lock(embed="embed")
    stage_run("embed")
    with start_run(REQUIRED, stage="train", kind="model", name="image") as record:
        record.tags({NOTE: "the best one"})
    (row,) = find(REQUIRED, row="image")
    links.link(REQUIRED, row, ["embed"], Path())
    (row,) = find(REQUIRED, row="image")
    assert row.tags[NOTE] == "the best one"
    assert "run_embed" in row.tags


def test_killed_runs_of_both_experiments_are_marked(store: Path) -> None:
    host = recorded_process(store)
    ids = [
        client(store)
        .create_run(experiment(store, name).experiment_id, tags={"process": f"{host} 0 0"})
        .info.run_id
        for name in ("faces", "faces-stages")
    ]
    with run():
        pass
    assert {client(store).get_run(i).info.status for i in ids} == {"KILLED"}


def recorded_process(root: Path) -> str:
    """The host as runs record it."""
    with run():
        pass
    return str(recorded(root)[0].data.tags["process"].split(" ")[0])


def test_the_experiment_is_named_by_the_parameter(store: Path) -> None:
    other = REQUIRED.model_copy(update={"experiment": "others"})
    with start_run(other, stage="embed", kind="data"):
        pass
    assert experiment(store, "others-stages")
    assert client(store).get_experiment_by_name("faces") is None
