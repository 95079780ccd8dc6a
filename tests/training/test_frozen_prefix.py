"""The network in two parts."""

import numpy as np
import pytest

from deepfake.common.errors import PipelineError
from deepfake.models import tensorflow_setup
from deepfake.training import frozen_prefix
from tests.support.split_networks import SIZE, new_features, split_network

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def started():
    tensorflow_setup.start(seed=3, precision="float32")


@pytest.mark.parametrize(
    "from_layer",
    ["all", "Conv1", "block_1_pad", "block_2_expand", "block_3_depthwise_BN", "block_4_expand_BN"],
)
@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_both_parts_together_are_the_network(from_layer, precision):
    features = new_features(precision)
    network = split_network(features, from_layer)
    pixels = np.random.default_rng(1).integers(0, 256, (3, SIZE, SIZE, 3)).astype("float32")
    expected = features(pixels)
    assert np.asarray(expected).std() > 0.01
    activations = network.frozen(pixels)
    np.testing.assert_allclose(network.trained(activations), expected, rtol=1e-4, atol=1e-5)
    assert network.has_frozen == (from_layer not in ("all", "Conv1"))


def test_any_functional_network_can_be_cut():
    """Branches, a layer of several inputs and the network's input cross the cut."""
    import keras

    pixels = keras.Input((None, None, 3))
    a = keras.layers.Conv2D(4, 3, padding="same", name="a")(pixels)
    b = keras.layers.Conv2D(5, 3, padding="same", activation="relu", name="b")(a)
    both = keras.layers.Concatenate(name="both")([a, pixels])
    c = keras.layers.Conv2D(5, 1, name="c")(both)
    total = keras.layers.Add(name="total")([b, c])
    network = keras.Model(pixels, total, name="mobilenet_v2")  # whose pixels are scaled so
    features = frozen_prefix.pooling.features(network, ["a", "total"], ["mean"], 16)
    images = np.random.default_rng(1).uniform(0, 255, (2, 16, 16, 3)).astype("float32")
    expected = features(images)
    names = [layer.name for layer in network.layers]
    assert len(names) == 6
    for name in names[1:]:
        parts = frozen_prefix.split(
            features, name, statistics=["mean"], image_size=16, scales=[1.0]
        )
        found = parts.trained(parts.frozen(images))
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_training_starts_at_the_layer_named():
    trunk = new_features().get_layer("mobilenet_v2")
    variables = frozen_prefix.freeze_before(trunk, "block_2_expand")
    assert not any("block_1_" in variable.path for variable in variables)
    assert any("block_2_depthwise" in variable.path for variable in variables)
    assert not any("_BN" in variable.path for variable in variables)
    with pytest.raises(PipelineError, match=r"received 'block_16_expand'.*Conv1"):
        frozen_prefix.freeze_before(trunk, "block_16_expand")
    assert len(frozen_prefix.freeze_before(trunk, "all")) > len(variables)
