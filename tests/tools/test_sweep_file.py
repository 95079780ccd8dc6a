"""What a sweep's file may hold, and what it comes to."""

from pathlib import Path

import pytest

from deepfake.common.errors import PipelineError
from tests.conftest import ROOT
from tests.tools.conftest import written
from tools import experiments, search, sweep_file
from tools.sweep_file import Dimension, Sweep

SEARCH = "name: a\nsearch: {trials: 3, metric: image.valid.roc_auc}\n"


def sets(sweep: Sweep) -> list[dict]:
    return [one.set for one in sweep.listed()]


def parsed(folder: Path, text: str) -> Sweep:
    return sweep_file.read(written(folder / "a.yaml", text))


def test_a_sweep_is_its_grid_and_its_single_experiments(tmp_path):
    text = "name: a\ngrid: {x: [1, 2], y: [3, 4]}\nexperiments: [{z: 5}]"
    assert sets(parsed(tmp_path, text)) == [
        {"x": 1, "y": 3},
        {"x": 1, "y": 4},
        {"x": 2, "y": 3},
        {"x": 2, "y": 4},
        {"z": 5},
    ]


def test_with_neither_it_is_one_experiment_of_what_is_set(tmp_path):
    assert sets(parsed(tmp_path, "name: a\nset: {x: 1}")) == [{"x": 1}]
    assert sets(parsed(tmp_path, "name: a")) == [{}]


def test_an_experiment_comes_after_its_preset_and_that_after_what_is_set(tmp_path):
    written(tmp_path / "fast.yaml", "name: fast\nset: {x: 2, y: 2}")
    text = (
        "name: a\nset: {x: 1, y: 1, z: 1}\n"
        "experiments: [{name: b, published: '0.9', preset: fast, set: {y: 3}}, {preset: fast}]"
    )
    first, second = parsed(tmp_path, text).listed()
    assert first.set == {"x": 2, "y": 3, "z": 1}
    assert (first.name, first.published) == ("b", "0.9")
    assert second.set == {"x": 2, "y": 2, "z": 1}


def test_an_unknown_preset_is_refused_with_those_that_there_are(tmp_path):
    with pytest.raises(PipelineError, match="preset: quick is none of a"):
        parsed(tmp_path, "name: a\nexperiments: [{preset: quick}]")


@pytest.mark.parametrize("path", sorted((ROOT / "experiments").glob("*.yaml")), ids=str)
def test_the_sweeps_here_can_be_run(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    found = sweep_file.read(path)
    experiments.parameters({str(n): one.set for n, one in enumerate(found.listed())})
    search.check(found)


def test_the_presets_here_are_named_as_their_files():
    for name in ("fast", "default", "best", "robust"):
        assert sweep_file.read(ROOT / f"experiments/{name}.yaml").name == name


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: a b", "String should match pattern"),
        ("name: a\nsort: image.test.roc_auc", "image.valid.NAME"),
        ("name: a\nsort: image.valid.auc", "roc_auc"),
        ("name: a\nmore: 1", "more"),
        ("name: a\nexperiments: [{name: b, x: 1}]", "x"),
        ("name: a\nspace: {x: {choices: [1]}}", "belong together"),
        (SEARCH, "belong together"),
        (SEARCH + "space: {x: {choices: [1]}}\ngrid: {x: [1]}", "no sort, grid or experiments"),
        (SEARCH.replace("trials: 3", "trials: 0") + "space: {x: {choices: [1]}}", "trials"),
        (SEARCH.replace("trials", "method: best, trials") + "space: {x: {choices: [1]}}", "tpe"),
        (SEARCH + "space: {x: {choices: []}}", "choices"),
        (SEARCH + "space: {x: {low: 2, high: 1}}", "low below high"),
        (SEARCH + "space: {x: {low: 0, high: 1, log: true}}", "low above 0"),
        (SEARCH + "space: {x: {low: 1, high: 2, log: true, step: 1}}", "no step"),
        (SEARCH + "space: {x: {choices: [1], low: 1}}", "choices stand alone"),
        ("[", "is not a sweep"),
    ],
)
def test_a_file_that_is_no_sweep_is_refused(tmp_path, text, said):
    with pytest.raises(PipelineError, match=said):
        parsed(tmp_path, text)


def test_numbers_are_read_as_those_of_params_yaml(tmp_path):
    found = parsed(tmp_path, "name: a\ngrid: {train.learning_rate: [1e-4, 1e-05]}")
    assert found.grid == {"train.learning_rate": [1e-4, 1e-5]}
    found = parsed(tmp_path, SEARCH + "space: {x: {low: 1e-4, high: 1, log: true}}")
    assert found.space["x"] == Dimension(low=1e-4, high=1, log=True)
