"""The maps that an exported network gives, against Keras's own gradients."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deepfake import params
from deepfake.exporting.explanation import Explainable, explainable
from deepfake.inference import openvino_export
from deepfake.models import image_model, pooling, small_cnn, transfer_model
from deepfake.serving.explanation import Explainer
from tests.support.networks import SIZE, drawn_head, textures

pytestmark = pytest.mark.slow

PARAMS = params.load(Path(__file__).parents[2] / "params.yaml")
SQUARE = textures(1, SIZE, SIZE)[0].astype("float32")


def probe(network: Any, hidden: list[int], **changes: Any) -> tuple[Any, Explainable]:
    """`classify` with a random head on `network`, and the same with its maps."""
    layers = ["block_1_project_BN", "block_3_project_BN"]
    embed = PARAMS.embed.model_copy(update={"layers": layers} | changes)
    features = pooling.features(network, embed.layers, embed.statistics, SIZE, embed.scales)
    head = image_model.keras_head(drawn_head(features.output_shape[-1], hidden), 0.0)
    classify = image_model.assemble(features, head, embed.views, SIZE).get_layer("classify")
    return classify, explainable(classify, "probe", embed)


def explainer(found: Explainable, folder: Path) -> Explainer:
    openvino_export.export(found.network, folder / "network.xml", SIZE)
    np.savez(folder / "head.npz", **found.arrays)
    return Explainer(folder, found.description, SIZE)


def logit(classify: Any, square: np.ndarray) -> float:
    score = float(classify(square[np.newaxis])[0, 0])
    return float(np.log(score / (1 - score)))


@pytest.mark.parametrize(
    "changes",
    [
        {"pooling": "covariance", "scales": [1.0, 0.5], "views": ["original", "rotated_left"]},
        {"pooling": "mean_std", "views": ["turned"]},
    ],
)
def test_the_heat_of_a_linear_head_adds_up_to_the_logit(
    network: Any, tmp_path: Path, changes: dict[str, Any]
) -> None:
    classify, found = probe(network, [], **changes)
    explain = explainer(found, tmp_path)
    computed, heat, base = explain(SQUARE)
    assert explain.exact
    assert heat.shape == (SIZE, SIZE)
    assert base is not None
    assert computed == pytest.approx(logit(classify, SQUARE), abs=1e-3)
    assert heat.sum() + base == pytest.approx(computed, abs=1e-3)
    assert np.abs(heat).sum() > 0.1


def test_with_hidden_layers_the_heat_is_linearised(network: Any, tmp_path: Path) -> None:
    classify, found = probe(network, [8], pooling="covariance", views=["original"])
    explain = explainer(found, tmp_path)
    computed, heat, _ = explain(SQUARE)
    assert not explain.exact
    assert "linearised" in explain.method
    assert computed == pytest.approx(logit(classify, SQUARE), abs=1e-3)
    assert np.isfinite(heat).all()


def grad_cam(classify: Any, maps: Any) -> np.ndarray:
    """Grad-CAM with its sign, by TensorFlow's gradients from the map on."""
    import keras
    import tensorflow as tf

    whole = keras.Model(classify.input, [classify.get_layer("score").input, maps])
    head = keras.Model(maps, classify.get_layer("score").input)
    shown = whole(SQUARE[np.newaxis], training=False)[1]
    with tf.GradientTape() as tape:
        tape.watch(shown)
        found = head(shown, training=False)
    weights = tape.gradient(found, shown).numpy()[0].mean(axis=(0, 1))
    return np.asarray(shown.numpy()[0] @ weights)


def randomise(classify: Any) -> None:
    rng = np.random.default_rng(0)
    for weight in classify.get_layer("logit").weights:
        weight.assign(rng.normal(size=weight.shape) * 0.3)


def test_transfer_is_explained_at_the_end_of_the_backbone(network: Any, tmp_path: Path) -> None:
    chosen = PARAMS.train.transfer.model_copy(
        update={"input_size": SIZE, "batch_norm": True, "units": [8], "dropout": [0.2]}
    )
    classify = transfer_model.build(network, chosen)
    found = explainable(classify, "transfer", PARAMS.embed)
    assert found.description["layer"] == network.name
    explain = explainer(found, tmp_path)
    _, heat, base = explain(SQUARE)
    expected = grad_cam(classify, classify.get_layer("pool").input)
    assert base is None
    assert not explain.exact
    assert heat.sum() == pytest.approx(expected.sum(), rel=1e-3)


def test_cnn_is_explained_at_the_map_that_is_flattened(tmp_path: Path) -> None:
    layers = ["c4 relu", "bn", "pool2", "c8 leaky0.1", "pool4", "flat", "d6", "bn", "relu", "d1"]
    classify = small_cnn.build(layers, SIZE, 127.0)
    randomise(classify)
    found = explainable(classify, "cnn", PARAMS.embed)
    assert found.description["layer"] == "pool_7"
    explain = explainer(found, tmp_path)
    computed, heat, _ = explain(SQUARE)
    expected = grad_cam(classify, classify.get_layer("flat_8").input)
    assert computed == pytest.approx(logit(classify, SQUARE), abs=1e-3)
    assert heat.sum() == pytest.approx(expected.sum(), rel=1e-3)
    assert np.corrcoef(heat[4::8, 4::8].ravel(), expected.ravel())[0, 1] > 0.95


def test_a_layer_that_numpy_does_not_know_is_named() -> None:
    import keras

    pixels = keras.Input((SIZE, SIZE, 3))
    x = keras.layers.Flatten()(keras.layers.Conv2D(2, 3)(pixels))
    x = keras.layers.Dense(4, "tanh", name="odd")(x)
    found = explainable(image_model.classifier(pixels, x), "cnn", PARAMS.embed)
    assert found.description["method"] is None
    assert found.description["why"] == "its layer odd is a Dense"
    assert len(found.network.outputs) == 1
