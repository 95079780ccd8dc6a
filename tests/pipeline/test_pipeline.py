"""The whole pipeline by real `dvc`, in a clone; the tests of this file build on each other."""

import json
import re

import pandas as pd
import pytest

from deepfake.common import paths
from deepfake.common.files import sha256_file
from deepfake.evaluation import decision

from .conftest import Clone
from .test_experiments import assert_rows

pytestmark = pytest.mark.slow

STAGES = [
    "ingest", "metadata", "external", "baseline",
    "backbone", "embed", "train", "evaluate", "compare", "export",
]  # fmt: skip


@pytest.fixture(scope="module")
def built(shared):
    """The clone after its first `dvc repro`, committed."""
    clone = Clone.opened(shared / "first")
    assert clone.stages_run((shared / "printed.txt").read_text()) == STAGES
    return clone


def read(clone, path):
    return json.loads((clone.path / path).read_text())


def runs(clone, **tags):
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{clone.path}/mlflow.db")
    both = ("deepfake-pipeline", "deepfake-pipeline-stages")
    ids = [client.get_experiment_by_name(name).experiment_id for name in both]
    wanted = " and ".join(f"tags.{key} = '{value}'" for key, value in tags.items())
    return client.search_runs(ids, wanted)


def test_every_output_is_there_and_git_sees_only_small_ones(built):
    tracked = built.run("git", "ls-files").splitlines()
    for path in ("dvc.lock", "report.md", "metrics/image.json", "plots/roc.png"):
        assert path in tracked
    assert not any(path.startswith(("data/", "cache/", "mlartifacts/")) for path in tracked)
    assert built.run("git", "status", "--porcelain") == ""


def test_metrics_have_the_names_and_ranges_promised(built):
    names = ["accuracy", "precision", "recall", "specificity", "f1", "roc_auc", "average_precision"]
    names += ["log_loss", "brier", "eer", "ece"]
    for model in ("baseline", "image"):
        metrics = read(built, f"metrics/{model}.json")
        assert list(metrics) == ["valid", "test"]
        for values in metrics.values():
            assert list(values) == names
            assert all(0 <= values[name] <= 1 for name in names if name != "log_loss")


def test_both_models_are_scored_on_the_same_images(built):
    for split in ("valid", "test"):
        tables = [
            pd.read_csv(built.path / f"data/{place}/{split}.csv")
            for place in ("metadata", "predictions/baseline", "predictions/image")
        ]
        for table in tables[1:]:
            assert table["image_id"].tolist() == tables[0]["image_id"].tolist()
            assert table["label"].tolist() == tables[0]["label"].tolist()
            assert table["path"].tolist() == tables[0]["path"].tolist()


def test_metrics_are_those_of_the_predictions_written(built):
    from sklearn.metrics import roc_auc_score

    for model in ("baseline", "image"):
        table = pd.read_csv(built.path / f"data/predictions/{model}/test.csv")
        expected = roc_auc_score(table["label"], table["score"])
        assert read(built, f"metrics/{model}.json")["test"]["roc_auc"] == pytest.approx(
            expected, abs=1e-6
        )


@pytest.mark.parametrize(
    ("model", "file"), [("image", "detector.keras"), ("baseline", "baseline.joblib")]
)
def test_a_decision_belongs_to_its_model_and_its_predictions(built, model, file):
    decided = decision.read(built.path / paths.decision(model))
    assert decided.model_sha256 == sha256_file(built.path / "data/models" / file)
    table = pd.read_csv(built.path / f"data/predictions/{model}/test.csv")
    fakes = table.loc[table["label"] == 1, "score"]
    metrics = read(built, f"metrics/{model}.json")["test"]
    assert metrics["recall"] == pytest.approx((fakes >= decided.threshold).mean(), abs=1e-6)
    spans = read(built, f"data/intervals/{model}.json")
    assert list(spans) == list(metrics)
    assert spans["recall"]["low"] <= metrics["recall"] <= spans["recall"]["high"]


def test_report_says_what_it_is_about(built):
    report = (built.path / "report.md").read_text()
    assert "random weights" in report
    assert "test card" in report
    assert "ROC-AUC" in report
    figures = re.findall(r"!\[[^]]+\]\(([^)]+)\)", report)
    assert len(figures) == 8
    for figure in figures:
        assert (built.path / figure).is_file()
    assert report.split("\n\n")[1] in " ".join(built.run("python", "-m", "tools.show").split())


def test_each_stage_has_its_run_and_a_model_has_one(built):
    for stage in ("ingest", "metadata", "backbone", "embed", "compare", "export"):
        (run,) = runs(built, stage=stage)
        assert run.info.status == "FINISHED"
        assert run.data.tags["kind"] == "data"
    (baseline,) = runs(built, stage="baseline")
    (image,) = runs(built, stage="train, evaluate")
    for run, name in ((baseline, "baseline"), (image, "image")):
        assert run.info.run_name == f"{name} · workspace"
        assert run.data.tags["kind"] == "model"
        assert run.data.tags["experiment"] == "workspace"
        metrics = read(built, f"metrics/{name}.json")
        for split, values in metrics.items():
            for metric, value in values.items():
                assert run.data.metrics[f"{split}_{metric}"] == pytest.approx(value, abs=1e-6)
        assert {entry.dataset.name for entry in run.inputs.dataset_inputs}
    assert all("made_by" not in run.data.tags for run in assert_rows(built, "workspace").values())
    assert image.data.params["train.learning_rate"] == "0.001"
    assert baseline.data.params["baseline.C"] == "1.0"


def test_image_run_has_its_curves_and_a_model_that_scores(built, monkeypatch):
    import mlflow
    import numpy as np

    (image,) = runs(built, stage="train, evaluate")
    client = mlflow.MlflowClient(f"sqlite:///{built.path}/mlflow.db")
    history = pd.read_csv(built.path / "data/training/history.csv")
    logged = client.get_metric_history(image.info.run_id, "while_training_valid_roc_auc")
    assert [point.step for point in logged] == history["epoch"].tolist()
    mlflow.set_tracking_uri(f"sqlite:///{built.path}/mlflow.db")
    loaded = mlflow.pyfunc.load_model(f"runs:/{image.info.run_id}/image")
    assert loaded.metadata.signature is not None
    found = loaded.predict(np.zeros((2, 70, 50, 3), dtype="uint8"))
    assert found["score"].between(0, 1).tolist() == [True, True]


def test_second_run_does_nothing(built):
    assert built.stages_run(built.run("dvc", "repro")) == []


def test_a_rule_chooses_a_threshold_for_each_model(built):
    printed = built.run("dvc", "exp", "run", "-n", "rule", "-S", "evaluate.threshold={fpr: 0.25}")
    assert built.stages_run(printed) == ["baseline", "evaluate", "compare", "export"]
    changed = built.run("git", "diff", "-U0", "HEAD", "--", "params.yaml").splitlines()
    lines = [line.split("#")[0].strip() for line in changed if re.match(r"[-+][^-+]", line)]
    assert lines == ["-  threshold: 0.5", "+  threshold:", "+    fpr: 0.25"]
    for model in ("baseline", "image"):
        decided = decision.read(built.path / paths.decision(model))
        assert decided.rule == {"fpr": 0.25}
        table = pd.read_csv(built.path / f"data/predictions/{model}/valid.csv")
        reals = table.loc[table["label"] == 0, "score"]
        assert (reals >= decided.threshold).mean() <= 0.25
    built.run("git", "checkout", "-q", ".")
    built.run("dvc", "checkout")


def test_baseline_parameter_reruns_neither_embed_nor_train(built):
    built.set(baseline={"C": 0.5})
    assert built.stages_run(built.run("dvc", "repro")) == ["baseline", "compare"]


def test_head_parameter_reruns_neither_ingest_nor_embed(built):
    changes = ["-S", "train.hidden=[8]", "-S", "train.learning_rate=1e-5"]
    printed = built.run("dvc", "exp", "run", "-n", "wide", *changes)
    assert built.stages_run(printed) == ["train", "evaluate", "compare", "export"]
    (image,) = runs(built, experiment="wide", row="image")
    assert image.data.params["train.hidden"] == "[8]"
    assert float(image.data.params["train.learning_rate"]) == 1e-5


def test_fine_tuning_is_a_second_phase_of_the_same_model(built):
    printed = built.run(
        "dvc", "exp", "run", "-n", "tuned", "-S", "train.fine_tune.epochs=1",
        "-S", "train.fine_tune.from_layer=block_4_expand",
    )  # fmt: skip
    assert built.stages_run(printed) == ["train", "evaluate", "compare", "export"]
    history = pd.read_csv(built.path / "data/training/history.csv")
    assert history["phase"].tolist() == ["head"] * (len(history) - 1) + ["fine_tune"]
    assert read(built, "data/training/summary.json")["fine_tune"]["epochs"] == 1


def test_dvc_shows_metrics_parameters_plots_and_experiments(built):
    shown = json.loads(built.run("dvc", "metrics", "show", "--json"))
    assert set(shown[""]["data"]) >= {"metrics/image.json", "metrics/baseline.json"}
    assert "train.fine_tune.epochs" in built.run("dvc", "params", "diff")
    assert "roc_auc" in built.run("dvc", "metrics", "diff")
    experiments = built.run("dvc", "exp", "show", "--csv")
    assert all(name in experiments for name in ("rule", "wide", "tuned"))
    assert "+" in built.run("dvc", "dag")
    built.run("dvc", "plots", "show", "-o", "page")
    page = (built.path / "page" / "index.html").read_text()
    assert "ROC on test" in page
    assert "Precision and recall on test" in page
    assert "image_scores.png" in page
    assert "image_roc.png" not in page  # its curve is there already


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"baseline": {"C": -1}}, "baseline.C: received -1; input should be greater than 0"),
        ({"backbone": {"weights": "imagenet2"}}, "'auto', 'imagenet' or 'random'"),
        ({"embed": {"layers": ["block_99"]}}, "MobileNetV2 has no layer 'block_99'"),
    ],
)
def test_unusable_parameter_is_refused_without_a_traceback(built, change, said):
    built.run("git", "checkout", "-q", "params.yaml")
    built.set(**change)
    printed = built.run("dvc", "repro", fails=True)
    assert said in printed
    assert "Traceback" not in printed
    built.run("git", "checkout", "-q", ".")


def test_folder_of_images_runs_through(built):
    """A folder of class folders without splits, made from the sample's own images."""
    from deepfake.data import shards

    for split in ("train", "valid", "test"):
        for image_file in shards.image_files(built.path / "data/images", split):
            name = "Deepfakes" if image_file.label else "Real"
            folder = built.path / "images" / name
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{image_file.image_id}.jpg").write_bytes(image_file.data)
    built.run("dvc", "exp", "run", "-n", "folder", "-S", "data.source=folder")
    counts = read(built, "data/metadata/summary.json")["counts"]
    assert sum(split["real"] for split in counts.values()) == 40
    assert sum(split["fake"] for split in counts.values()) == 40
