"""Unusable parameters are refused before DVC removes an output; the message says the way back."""

import re

import pytest

pytestmark = pytest.mark.slow

BACK = "git checkout params.yaml"
FAULT = "from deepfake.common.errors import PipelineError; raise PipelineError('no disk')"


@pytest.fixture(scope="module")
def ready(computed_clone):
    return computed_clone


def outputs(clone):
    """Contents of all outputs of the pipeline, and of dvc.lock."""
    folders = ("data", "metrics", "plots")
    files = [path for folder in folders for path in (clone.path / folder).rglob("*")]
    files += [clone.path / name for name in ("report.md", "dvc.lock")]
    return {path: path.read_bytes() for path in files if path.is_file()}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("baseline.C=-1", "baseline.C: received -1; input should be greater than 0"),
        ("train.fine_tune.from_layer=block_99", "from_layer: MobileNetV2 has no layer 'block_99'"),
        ("data.source=folder", "no such directory or zip: images"),
        ("data.limit_per_class=2", "no real images in valid"),
        ("+train.weight_decai=1", r"train.weight_decai: unknown key .*train.weight_decay\?"),
    ],
)
def test_a_refused_value_removes_nothing(ready, change, told):
    before = outputs(ready)
    printed = ready.run("dvc", "exp", "run", "-n", "refused", "-S", change, fails=True)
    assert ready.stages_run(printed) == []
    assert "Running stage 'check'" in printed
    assert re.search(told, printed)
    assert "Traceback" not in printed
    assert outputs(ready) == before
    line = next(line for line in printed.splitlines() if line.strip().startswith("git checkout"))
    assert line.strip() == BACK
    ready.run("bash", "-c", line)
    assert ready.run("git", "status", "--porcelain") == ""


def test_an_output_that_is_gone_comes_back_with_the_command_in_the_message(ready):
    before = outputs(ready)
    (ready.path / "data/models/baseline.joblib").unlink()
    (ready.path / "metrics/baseline.json").unlink()
    printed = ready.run("dvc", "exp", "run", "-S", "evaluate.threshold=2", fails=True)
    ready.run("bash", "-c", printed[printed.index("git checkout") :].splitlines()[0])
    assert outputs(ready) == before


def test_a_stage_that_refuses_says_how_its_outputs_come_back(ready):
    before = outputs(ready)
    change = "train.fine_tune.from_layer=all"
    source = ready.path / "stages/train.py"
    code = source.read_text()
    source.write_text(code.replace("def main() -> None:\n", f"def main() -> None:\n    {FAULT}\n"))
    printed = ready.run("dvc", "exp", "run", "-S", change, fails=True)
    source.write_text(code)
    assert not (ready.path / "data/models/image.keras").exists()
    ready.run("bash", "-c", printed[printed.index("git checkout") :].splitlines()[0])
    assert outputs(ready) == before
    assert ready.stages_run(ready.run("dvc", "repro")) == []


def test_in_a_temporary_copy_there_is_no_way_to_go_back(ready):
    before = outputs(ready)
    printed = ready.run("dvc", "exp", "run", "--temp", "-S", "baseline.C=-1", fails=True)
    assert "Your workspace is as it was." in printed
    assert BACK not in printed
    assert outputs(ready) == before
    assert ready.run("git", "status", "--porcelain") == ""


def test_dvc_itself_refuses_a_key_that_it_does_not_know(ready):
    printed = ready.run("dvc", "exp", "run", "-S", "train.weight_decai=1", fails=True)
    assert "Key 'weight_decai' is not in struct" in printed
    assert ready.run("git", "status", "--porcelain") == ""


def test_other_packages_than_in_versions_yaml_are_refused_before_anything_is_removed(ready):
    before = outputs(ready)
    path = ready.path / "versions.yaml"
    path.write_text(re.sub(r"^pandas: .*", "pandas: 0.1.0", path.read_text(), flags=re.M))
    printed = ready.run("dvc", "repro", fails=True)
    assert "expected 0.1.0" in printed
    assert outputs(ready) == before
    ready.run("git", "checkout", "-q", "versions.yaml")
