"""The recipes that train on images, through the whole pipeline in a clone."""

import json

import pytest

pytestmark = pytest.mark.slow

RECIPES = {
    "transfer": [
        "train.transfer.input_size=64",
        "train.transfer.units=[8]",
        "train.transfer.epochs=2",
        "train.transfer.unfreeze_epochs=1",
        "train.transfer.augment.shear=10",
    ],
    "cnn": [
        "train.cnn.input_size=32",
        "train.cnn.layers=[c4 relu,bn,pool2,flat,d8 relu,d1 sigmoid]",
        "train.cnn.epochs=2",
    ],
}
PHASES = {"transfer": {"head", "fine_tune"}, "cnn": {"network"}}


@pytest.mark.parametrize("recipe", ["transfer", pytest.param("cnn", marks=pytest.mark.exhaustive)])
def test_a_recipe_runs_from_images_to_the_report(computed_clone, recipe):
    changes = [f"-S{change}" for change in (f"train.recipe={recipe}", *RECIPES[recipe])]
    printed = computed_clone.run("dvc", "exp", "run", "-n", recipe, *changes)
    assert {"train", "evaluate", "compare"} <= set(computed_clone.stages_run(printed))
    assert "train: best after epoch " in printed
    summary = json.loads((computed_clone.path / "data/training/summary.json").read_text())
    assert summary["recipe"] == recipe
    assert PHASES[recipe] <= set(summary)
    metrics = json.loads((computed_clone.path / "metrics/image.json").read_text())
    committed = json.loads(computed_clone.run("git", "show", "HEAD:metrics/image.json"))
    assert metrics["test"]["log_loss"] != committed["test"]["log_loss"]
    assert f"`{recipe}`" in (computed_clone.path / "report.md").read_text()
    computed_clone.run("git", "checkout", "-q", ".")
