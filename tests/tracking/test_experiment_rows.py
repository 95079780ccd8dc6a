"""The rows of an experiment, written from made-up outputs of the pipeline."""

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import joblib
import mlflow
import pandas as pd
import pytest
import yaml
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from deepfake import params
from deepfake.common import paths
from deepfake.common.files import sha256_file
from deepfake.common.labels import SPLITS
from deepfake.evaluation.decision import Decision
from deepfake.metadata.table import COLUMNS, FEATURES, FLAGS, read_metadata, varying
from deepfake.params import Params
from deepfake.tracking import experiment_rows, row_contents
from deepfake.tracking import store as tracking_store
from deepfake.tracking.outbox import tidy
from deepfake.tracking.run import start_run
from tests.support.making import write
from tests.support.tracking import client, outbox

ROOT = Path(__file__).parent.parent.parent
EXPERIMENT = "deepfake-pipeline"
SHARED = {"roc.png", "precision_recall.png", "confusion.png", "scores.png", "reliability.png"}
SHARED |= {"report.md"}
DECIDED = Decision(1.5, "youden", 0.4, 0.3, 0.6, 0.02, 100, 100, "a digest")


@pytest.fixture
def settings() -> Params:
    found = params.load(ROOT / "params.yaml")
    return found.model_copy(
        update={"tracking": found.tracking.model_copy(update={"policy": "required"})}
    )


def table() -> pd.DataFrame:
    """A small table of metadata; the sizes and formats vary."""
    rows = 6
    values: dict[str, Any] = dict.fromkeys(COLUMNS, "same")
    values |= dict.fromkeys(FLAGS, False)
    values |= {"label": [0, 1] * 3, "label_name": ["real", "fake"] * 3}
    values |= {"width": 8, "height": 8, "bytes": range(rows)}
    values |= {"bits_per_pixel": 1.5, "jpeg_quality": 90.0}
    return pd.DataFrame(values, index=range(rows), columns=list(COLUMNS))


def outputs(root: Path, lock: bool = True) -> None:
    """What all stages leave behind in `root`, as far as rows are written from it."""
    facts = {"source": {"name": "sample", "version": "1"}}
    facts["counts"] = {split: {"real": 3, "fake": 3} for split in SPLITS}
    files = {
        paths.IMAGES_REPORT: json.dumps(facts),
        paths.DATA_SUMMARY: json.dumps(facts),
        paths.IMAGE_MODEL: "a model",
        paths.DETECTOR: "a model with its temperature",
        paths.EXPORTED / "detector.json": '{"digest": "of the exported"}',
        paths.TRAINING_SUMMARY: json.dumps(
            {"weights": "random", "precision": "float32", "head": {"epochs": 2}}
        ),
        paths.HISTORY: "phase,epoch,train_loss,valid_roc_auc\nhead,1,0.7,0.5\nhead,2,0.6,0.7\n",
        paths.curves("baseline") / "coefficients.csv": "feature,coefficient\nbytes,0.5\n",
        paths.REPORT: "# Report\n",
        paths.FIGURES / "roc.png": "both",
        paths.FIGURES / "history.png": "history",
        paths.FIGURES / "coefficients.png": "coefficients",
    }
    for split in SPLITS:
        files[paths.METADATA / f"{split}.csv"] = table().to_csv(index=False)
        files[paths.EMBEDDINGS / f"{split}.csv"] = "id,label\na,0\nb,1\n"
    files[paths.FIGURES / "reliability.png"] = "reliability"
    for model, value in (("baseline", 0.5), ("image", 0.9)):
        group = {"roc_auc": {"value": value, "low": value - 0.1, "high": value + 0.1}}
        groups = {"external": {}, "source": {"faces": group}}
        files[paths.groups(model)] = json.dumps(groups)
        files[paths.decision(model)] = json.dumps(asdict(DECIDED))
        files[paths.metrics_file(model)] = json.dumps({"test": {"roc_auc": 0.75}})
        files[paths.curves(model) / "classification_report.txt"] = f"report of {model}"
        for kind in ("roc", "precision_recall", "confusion", "scores"):
            files[paths.curves(model) / f"{kind}.csv"] = "x,y\n0,0\n"
            files[paths.FIGURES / f"{model}_{kind}.png"] = f"{kind} of {model}"
        for split in ("valid", "test"):
            files[paths.predictions(model) / f"{split}.csv"] = "id,label,score\na,0,0.1\n"
    if lock:
        stages = {stage for stages in experiment_rows.ANCESTRY.values() for stage in stages}
        stages.add("export")
        files[Path("dvc.lock")] = yaml.safe_dump({"stages": {s: {"cmd": s} for s in stages}})
    write(root, {str(path): text.encode() for path, text in files.items()})
    train = read_metadata(root / paths.METADATA / "train.csv", ["label", *FEATURES])
    model = make_pipeline(OneHotEncoder(handle_unknown="ignore"), LogisticRegression())
    model.fit(train[varying(train)], train["label"])
    joblib.dump(model, root / paths.BASELINE_MODEL)


@pytest.fixture
def made() -> Path:
    """The working directory, with the outputs of all stages."""
    outputs(Path())
    return Path()


def stages(settings: Params) -> None:
    """The stages that write rows, as they run one after the other."""
    with start_run(settings.tracking, stage="baseline", kind="model", name="baseline") as run:
        row_contents.log_baseline(run, Path(), settings)
    with start_run(settings.tracking, stage="train", kind="model", name="image") as run:
        row_contents.log_epoch(run, {"phase": "head", "epoch": 1, "train_loss": 0.5})
        row_contents.log_training(run, Path(), settings, epochs=False)
    digest = row_contents.checksums(Path(), "image")["model_sha256"]
    with start_run(
        settings.tracking, stage="evaluate", kind="model", name="image", model_sha256=digest
    ) as run:
        row_contents.log_evaluation(run, Path(), settings)


def rows(root: Path) -> list[Any]:
    """All rows in the store, by name and then by age."""
    found = client(root).get_experiment_by_name(EXPERIMENT)
    assert found is not None
    order = ["attributes.run_name ASC", "attributes.start_time ASC"]
    return list(client(root).search_runs([found.experiment_id], order_by=order))


def artifacts(root: Path, row: Any, folder: str | None = None) -> set[str]:
    found = client(root).list_artifacts(row.info.run_id, folder)
    return {item.path for item in found if not item.is_dir}


def assert_whole(root: Path, found: list[Any]) -> None:
    """`found` are the two rows of the outputs that `outputs` makes, with everything in them."""
    baseline, image = found
    for row, own in ((baseline, "coefficients.png"), (image, "history.png")):
        name = row.data.tags["row"]
        assert row.info.run_name == f"{name} · {row.data.tags['experiment']}"
        assert row.info.status == "FINISHED"
        assert row.data.metrics["test_roc_auc"] == 0.75
        assert row.data.tags["current"] == "true"
        assert row.data.tags["source_name"] == "sample"
        assert row.data.params["evaluate.threshold"] == "0.5"
        assert row.data.params["decision.threshold"] == "0.4"
        assert row.data.params["decision.temperature"] == "1.5"
        decided = "decision.json" if name == "image" else "baseline_decision.json"
        assert artifacts(root, row) >= {*SHARED, own, decided, "classification_report.txt"}
        curves = {f"curves/{kind}.csv" for kind in ("roc", "precision_recall", "confusion")}
        assert artifacts(root, row, "curves") >= curves
        assert artifacts(root, row, "predictions") == {
            "predictions/valid.csv",
            "predictions/test.csv",
        }
        figure = client(root).download_artifacts(row.info.run_id, "roc.png")
        assert Path(figure).read_text() == f"roc of {name}"
        assert [item.dataset.name.split("-")[1] for item in row.inputs.dataset_inputs] == [*SPLITS]
        assert len(row.outputs.model_outputs) == 1
    model = f"models:/{image.outputs.model_outputs[0].model_id}"
    folder = Path(mlflow.artifacts.download_artifacts(model))
    assert (folder / "keras" / "model.keras").read_text() == "a model with its temperature"
    assert json.loads((folder / "detector" / "detector.json").read_text()) == {
        "digest": image.data.tags["exported_sha256"]
    }
    measured = client(root).get_logged_model(image.outputs.model_outputs[0].model_id).metrics
    assert {(metric.key, metric.value) for metric in measured} == {("test_roc_auc", 0.75)}
    detector = sha256_file(paths.DETECTOR)
    assert image.data.tags["detector_sha256"] == detector
    assert image.data.tags["model_sha256"] != detector
    assert baseline.data.metrics["source_faces_roc_auc"] == 0.5
    assert image.data.metrics["source_faces_roc_auc"] == 0.9
    assert (baseline.data.tags["row"], image.data.tags["row"]) == ("baseline", "image")
    assert image.data.tags["stage"] == "train, evaluate"
    assert artifacts(root, image, "training") == {"training/summary.json"}
    assert image.data.metrics["while_training_head_epochs"] == 2
    assert baseline.data.params["baseline.features"] == '["bytes"]'


def test_rows_that_stages_wrote_get_their_figures_and_nothing_else(
    store: Path, made: Path, settings: Params
) -> None:
    stages(settings)
    before = [row.info.run_id for row in rows(store)]
    assert all("roc.png" not in artifacts(store, row) for row in rows(store))
    assert experiment_rows.ensure(made, settings, exported=True) == ["baseline", "image"]
    assert [row.info.run_id for row in rows(store)] == before
    assert_whole(store, rows(store))
    assert "made_by" not in rows(store)[1].data.tags
    assert rows(store)[1].data.metrics["while_training_train_loss"] == 0.5
    assert experiment_rows.complete(made, settings) == {"workspace"}


def test_rows_of_restored_outputs_are_written_whole_and_linked_to_what_made_the_model(
    store: Path, made: Path, settings: Params
) -> None:
    stages(settings)
    experiment_rows.ensure(made, settings, exported=True)
    originals = {row.data.tags["row"]: row.info.run_id for row in rows(store)}
    origin = {"experiment": "restored", "repository": "elsewhere"}
    assert experiment_rows.ensure(made, settings, origin, exported=True) == ["baseline", "image"]
    written = [row for row in rows(store) if row.data.tags["experiment"] == "restored"]
    assert_whole(store, written)
    for row in written:
        assert row.data.tags["made_by"] == originals[row.data.tags["row"]]
    history = client(store).get_metric_history(
        written[1].info.run_id, "while_training_valid_roc_auc"
    )
    assert [(point.step, point.value) for point in history] == [(1, 0.5), (2, 0.7)]


def test_what_is_there_is_not_written_twice(
    store: Path, made: Path, settings: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment_rows.ensure(made, settings, exported=True)
    assert_whole(store, rows(store))
    written: list[str] = []
    monkeypatch.setattr(tracking_store, "apply", lambda *arguments: written.append(arguments[1]))
    assert experiment_rows.ensure(made, settings, exported=True) == []
    assert written == []


def test_the_model_comes_when_it_is_exported(store: Path, made: Path, settings: Params) -> None:
    stages(settings)
    assert experiment_rows.ensure(made, settings) == ["baseline", "image"]
    (named,) = rows(store)[1].outputs.model_outputs
    assert client(store).get_logged_model(named.model_id).status == "PENDING"
    assert experiment_rows.complete(made, settings) == set()
    assert experiment_rows.ensure(made, settings, exported=True) == ["image"]
    assert_whole(store, rows(store))
    assert rows(store)[1].outputs.model_outputs[0].model_id == named.model_id
    assert client(store).get_logged_model(named.model_id).status == "READY"
    assert experiment_rows.complete(made, settings) == {"workspace"}


def test_a_restored_row_takes_the_model_of_the_first(
    store: Path, made: Path, settings: Params
) -> None:
    experiment_rows.ensure(made, settings, exported=True)
    shutil.rmtree(paths.EXPORTED)  # DVC restores it after the row is written
    origin = {"experiment": "restored", "repository": "elsewhere"}
    experiment_rows.ensure(made, settings, origin)
    written = [row for row in rows(store) if row.data.tags["experiment"] == "restored"]
    assert_whole(store, written)


def test_figures_drawn_again_replace_the_earlier_ones(
    store: Path, made: Path, settings: Params
) -> None:
    experiment_rows.ensure(made, settings, exported=True)
    (made / paths.FIGURES / "image_roc.png").write_text("with another label")
    assert experiment_rows.ensure(made, settings, exported=True) == ["image"]
    _, image = rows(store)
    figure = client(store).download_artifacts(image.info.run_id, "roc.png")
    assert Path(figure).read_text() == "with another label"


def test_an_experiment_without_its_figures_is_not_complete(
    store: Path, made: Path, settings: Params
) -> None:
    experiment_rows.ensure(made, settings, exported=True)
    client(store).delete_tag(rows(store)[1].info.run_id, "figures_sha256")
    assert experiment_rows.complete(made, settings) == set()
    assert experiment_rows.ensure(made, settings, exported=True) == ["image"]
    assert experiment_rows.complete(made, settings) == {"workspace"}


def test_stages_called_without_dvc_have_their_figures_too(store: Path, settings: Params) -> None:
    outputs(Path(), lock=False)
    stages(settings)
    assert experiment_rows.ensure(Path(), settings, exported=True) == ["baseline", "image"]
    assert_whole(store, rows(store))


def test_figures_that_could_not_be_logged_are_delivered_later(
    store: Path, made: Path, settings: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracking = settings.tracking.model_copy(update={"policy": "best_effort"})
    settings = settings.model_copy(update={"tracking": tracking})
    stages(settings)
    apply = tracking_store.apply

    def failing(run_id: str, operation: Any, root: Path) -> None:
        if operation["do"] == "files":
            raise ConnectionError("the server went down")
        apply(run_id, operation, root)

    monkeypatch.setattr(tracking_store, "apply", failing)
    experiment_rows.ensure(made, settings, exported=True)
    assert len(outbox(store)) == 2
    monkeypatch.setattr(tracking_store, "apply", apply)
    assert tidy(settings.tracking) == 2
    assert_whole(store, rows(store))
    assert experiment_rows.ensure(made, settings, exported=True) == []


def test_the_parameters_of_execution_are_logged(store: Path, made: Path, settings: Params) -> None:
    experiment_rows.ensure(made, settings, exported=True)
    assert rows(store)[1].data.params["execution.batch_size"] == "16"
