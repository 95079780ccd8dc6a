"""The tools' own logic; what they do with DVC is tested in `tests/pipeline/`."""

import json
from pathlib import Path

import pytest
import yaml

from deepfake import params
from deepfake.common.errors import PipelineError
from tools import clones, verify

ROOT = Path(__file__).parent.parent.parent


def written(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.fixture
def built(tmp_path: Path) -> tuple[Path, Path]:
    """Two clones with equal outputs: a file, and a folder with two."""
    pipeline = {"stages": {"a": {"outs": ["data/images", {"metrics/a.json": {"cache": False}}]}}}
    for name in ("one", "two"):
        written(tmp_path / name / "dvc.yaml", yaml.safe_dump(pipeline))
        written(tmp_path / name / "dvc.lock", "lock")
        written(tmp_path / name / "metrics/a.json", '{\n  "auc": 0.5\n}\n')
        for file in ("train.bin", "test.bin"):
            written(tmp_path / name / "data/images" / file, "pixels")
    return tmp_path / "one", tmp_path / "two"


def test_outputs_are_what_the_stages_declare_as_outs_metrics_or_plots(tmp_path):
    pipeline = {
        "stages": {
            "a": {"outs": ["data/a.bin"]},
            "b": {
                "metrics": ["metrics/b.json", {"metrics/c.json": {"cache": False}}],
                "plots": [{"plots/b.csv": {"cache": False, "x": "fpr"}}, "plots/folder"],
            },
        },
        "plots": [{"ROC": {"y": {"plots/top.csv": "tpr"}}}, "plots/top.csv"],
    }
    written(tmp_path / "dvc.yaml", yaml.safe_dump(pipeline))
    names = ["data/a.bin", "metrics/b.json", "metrics/c.json", "plots/b.csv", "plots/folder/b.png"]
    for name in ["dvc.lock", *names, "plots/top.csv"]:
        written(tmp_path / name, "")
    assert verify.outputs(tmp_path) == [Path(name) for name in ["dvc.lock", *names]]


def test_equal_outputs_agree(built, capsys):
    assert verify.compare_outputs(*built)
    assert "4 of 4 files agree, byte for byte" in capsys.readouterr().out


def test_a_difference_is_named_with_its_place(built, capsys):
    written(built[1] / "metrics/a.json", '{\n  "auc": 0.6\n}\n')
    written(built[1] / "data/images/test.bin", "pixeLs")
    assert not verify.compare_outputs(*built)
    printed = capsys.readouterr().out
    assert 'metrics/a.json | 17 | no: line 2: `"auc": 0.5` and `"auc": 0.6`' in printed
    assert "data/images/test.bin | 6 | no: byte 4" in printed
    assert "2 of 4 files agree" in printed


def test_an_output_that_only_one_run_wrote_is_a_difference(built, capsys):
    written(built[1] / "data/images/more.bin", "")
    assert not verify.compare_outputs(*built)
    assert "data/images/more.bin | 0 | no: only one run wrote it" in capsys.readouterr().out


@pytest.mark.parametrize(("tolerance", "agree"), [(0.01, True), (0.0001, False)])
def test_metrics_are_compared_within_a_tolerance(tmp_path, capsys, tolerance, agree):
    for name, auc in (("one", 0.9), ("two", 0.901)):
        for file in verify.METRICS:
            written(tmp_path / name / file, json.dumps({"test": {"roc_auc": auc, "n": 3}}))
    assert verify.compare_metrics(tmp_path / "one", tmp_path / "two", tolerance) is agree
    assert "0.001000 | test.roc_auc" in capsys.readouterr().out


def test_parameters_are_changed_as_dvc_changes_them(tmp_path):
    file = written(tmp_path / "params.yaml", (ROOT / "params.yaml").read_text())
    clones.change(file, ["train.hidden=[128]", "train.learning_rate=1e-5", "seed=3"])
    changed = params.load(file)
    assert (changed.train.hidden, changed.train.learning_rate, changed.seed) == ([128], 1e-5, 3)


def test_paths_of_data_lead_to_the_same_place_from_a_clone(tmp_path, monkeypatch):
    file = written(tmp_path / "params.yaml", (ROOT / "params.yaml").read_text())
    monkeypatch.chdir(tmp_path)
    external = "evaluate.external=[{name: celeb, path: sets/celeb.zip}]"
    clones.change(file, ["data.folder.path=[a.zip, /b.zip, 's3://bucket/c.zip']", external])
    changed = params.load(file)
    assert changed.data.folder.path == [
        str(tmp_path / "a.zip"), "/b.zip", "s3://bucket/c.zip",
    ]  # fmt: skip
    assert changed.evaluate.external[0].path == str(tmp_path / "sets/celeb.zip")


@pytest.mark.parametrize("item", ["train.hiden=[128]", "nothing", "seed.of=3"])
def test_a_parameter_that_is_not_there_is_refused(tmp_path, item):
    file = written(tmp_path / "params.yaml", (ROOT / "params.yaml").read_text())
    with pytest.raises(PipelineError, match="expected KEY=VALUE with a key of"):
        clones.change(file, [item])
