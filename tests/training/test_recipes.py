"""Which recipes are refused before work, and that those in experiments/ are not."""

import copy
from pathlib import Path
from typing import Any

import pytest

from deepfake import params
from deepfake.common.errors import PipelineError
from deepfake.training import recipes
from tools import clones, experiments, sweep, sweep_file

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = params.load(ROOT / "params.yaml").model_dump()


def changed(changes: dict[str, Any]) -> params.Params:
    values = copy.deepcopy(SHIPPED)
    for key, value in changes.items():
        assert clones.assign(values, key, value)
    return params.validate(values)


@pytest.mark.parametrize("name", ["recipes", "s3"])
def test_the_recipes_in_experiments_can_be_used(name: str, monkeypatch: Any) -> None:
    monkeypatch.chdir(ROOT)
    found = sweep.experiments_of(sweep_file.read(ROOT / f"experiments/{name}.yaml"))
    assert len(found) == {"recipes": 9, "s3": 20}[name]
    named = {each: experiment.set for each, experiment in found.items()}
    for settings in experiments.parameters(named).values():
        recipes.check(settings)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"train.cnn.layers": ["c8", "d1"]}, "train.cnn.layers: received d1 on a map"),
        ({"train.cnn.layers": ["c8 gelu"]}, "train.cnn.layers.0: received 'c8 gelu'"),
        (
            {"train.recipe": "transfer", "train.transfer.unfreeze_from": "block_99"},
            "train.transfer.unfreeze_from: received 'block_99'; the blocks of MobileNetV2 are",
        ),
        (
            {"backbone.name": "ResNet50", "backbone.alpha": 0.5},
            "backbone.alpha: received 0.5; ResNet50 has the width 1.0",
        ),
        (
            {"backbone.name": "ResNet50", "train.fine_tune.epochs": 1},
            "train.fine_tune.epochs: received 1 with backbone.name ResNet50; it must be 0",
        ),
        ({"embed.layers": ["block_99"]}, "embed.layers: MobileNetV2 has no layer 'block_99'"),
        (
            {
                "backbone.image_size": 32,
                "embed.scales": [0.5],
                "embed.layers": ["out_relu"],
                "embed.pooling": "mean_std",
            },
            "embed.pooling: mean_std: at 16 pixels out_relu has 1 positions",
        ),
        (
            {"backbone.name": "EfficientNetV2B0", "embed.layers": ["block4a_se_squeeze"]},
            "embed.layers: EfficientNetV2B0 has no layer 'block4a_se_squeeze'",
        ),
        (
            {
                "backbone.name": "ConvNeXtTiny",
                "backbone.image_size": 32,
                "embed.scales": [0.1],
                "embed.layers": ["convnext_tiny_stage_0_block_0_identity"],
                "embed.pooling": "average",
            },
            "backbone.image_size: convnext_tiny cannot see an image of 3 pixels",
        ),
    ],
)
def test_what_does_not_fit_is_refused(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(PipelineError) as caught:
        recipes.check(changed(changes))
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"train.recipe": "forest"}, "train.recipe: received 'forest'; "),
        ({"backbone.name": "VGG16"}, "backbone.name: received 'VGG16'; "),
        ({"train.transfer.dropout": [0.1, 0.2]}, "must have one value for each of units [128]"),
        ({"train.transfer.input_size": 31}, "greater than or equal to 32"),
        ({"train.cnn.layers": []}, "at least 1 item"),
        (
            {"train.hidden": [8], "train.weight_decay": "auto"},
            "\n  train: weight_decay: auto needs a linear head (hidden: [])",
        ),
    ],
)
def test_the_schema_refuses_what_is_not_there(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(PipelineError) as caught:
        changed(changes)
    assert told in str(caught.value)


def test_parts_of_another_recipe_are_no_obstacle() -> None:
    """A backbone whose blocks have other names can be used with the recipe `cnn`."""
    recipes.check(changed({"train.recipe": "cnn", "backbone.name": "ResNet50"}))
    recipes.check(changed({"train.recipe": "transfer", "train.transfer.unfreeze_from": "all"}))
