"""ImageNet's weights that appear after a run with random ones are used by the next `make repro`."""

import json
import shutil

import pytest

pytestmark = pytest.mark.slow

UNREACHABLE = {"https_proxy": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9"}


def used(clone):
    return json.loads((clone.path / "data/backbone/summary.json").read_text())["weights"]


def test_weights_that_appear_are_used_from_then_on(computed_clone, imagenet_weights, tmp_path):
    clone, look = computed_clone, ("python", "-m", "tools.weights")
    without = {"KERAS_HOME": str(tmp_path), **UNREACHABLE}
    clone.set(backbone={"weights": "auto"})
    clone.run("dvc", "repro", "backbone", **without)
    assert used(clone) == "random"
    assert clone.run(*look, **without) == ""
    assert (
        clone.run("dvc", "repro", "backbone", KERAS_HOME=imagenet_weights).count("Running stage")
        == 0
    )

    printed = clone.run(*look, KERAS_HOME=imagenet_weights)
    assert clone.stages_run(printed) == ["backbone"]
    assert used(clone) == "imagenet"
    assert "data/backbone" in clone.run("dvc", "status", "embed")
    assert clone.run(*look, KERAS_HOME=imagenet_weights) == ""

    # Without lock and outputs DVC restores what the stage wrote last.
    (clone.path / "dvc.lock").unlink()
    shutil.rmtree(clone.path / "data/backbone")
    printed = clone.run("dvc", "repro", "backbone", **without)
    assert clone.stages_run(printed) == []
    assert used(clone) == "imagenet"


def test_weights_that_were_chosen_stay(computed_clone, imagenet_weights):
    computed_clone.set(backbone={"weights": "random"})
    computed_clone.run("dvc", "repro", "backbone")
    assert computed_clone.run("python", "-m", "tools.weights", KERAS_HOME=imagenet_weights) == ""
    assert used(computed_clone) == "random"
