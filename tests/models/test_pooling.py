"""What is read off the activations of the backbone."""

import numpy as np
import pytest

from deepfake.common.errors import PipelineError
from deepfake.models import mobilenet_v2, pooling
from tests.support.networks import LAYERS, SIZE, noise_images

pytestmark = pytest.mark.slow


def test_features_are_mean_and_std_of_the_activations(network, features):
    import keras

    pixels = noise_images(2, SIZE, SIZE).astype("float32")
    taps = keras.Model(network.input, [network.get_layer(name).output for name in LAYERS])
    expected = []
    for activations in taps(pixels / 127.5 - 1, training=False):
        values = np.asarray(activations)
        expected += [values.mean(axis=(1, 2)), values.std(axis=(1, 2))]
    np.testing.assert_allclose(
        np.asarray(features(pixels)), np.concatenate(expected, axis=1), atol=2e-5
    )


def test_features_of_two_scales_are_those_of_each_beside_one_another(network, features):
    both = pooling.features(network, LAYERS, ["mean", "std"], SIZE, [1.0, 0.5])
    half = pooling.features(network, LAYERS, ["mean", "std"], SIZE // 2)
    pixels = noise_images(2, SIZE, SIZE).astype("float32")
    expected = [features(pixels), half(pooling.resized(pixels, SIZE // 2))]
    np.testing.assert_allclose(
        np.asarray(both(pixels)), np.concatenate(expected, axis=1), atol=1e-4
    )


def test_covariances_are_those_of_the_activations(network):
    import keras

    pixels = noise_images(2, SIZE, SIZE).astype("float32")
    taps = keras.Model(network.input, [network.get_layer(name).output for name in LAYERS])
    expected = []
    for activations in taps(pixels / 127.5 - 1, training=False):
        values = np.asarray(activations).reshape(2, -1, activations.shape[-1])
        upper = np.triu_indices(values.shape[-1])
        expected.append(values.mean(axis=1))
        expected.append(np.stack([np.cov(image.T, bias=True)[upper] for image in values]))
    for size in (SIZE, None):
        features = pooling.features(network, LAYERS, ["mean", "covariance"], size)
        found = np.asarray(features(pixels))
        np.testing.assert_allclose(found, np.concatenate(expected, axis=1), atol=2e-5)


def test_widths_are_those_of_the_features(network):
    channels = [network.get_layer(name).output.shape[-1] for name in LAYERS]
    for statistics in (["mean"], ["mean", "std"], ["mean", "covariance"]):
        found = pooling.features(network, LAYERS, statistics, SIZE).output_shape[-1]
        assert found == sum(pooling.width(s, c) for c in channels for s in statistics)


def test_a_layer_with_fewer_positions_than_channels_is_refused():
    def shapes(size):
        layers = ["block_3_project_BN", "block_12_add"]
        return {name: mobilenet_v2.shape(name, 1.0, size) for name in layers}

    for size in (384, 160):
        pooling.check_positions(shapes(size), size, "covariance")
    with pytest.raises(PipelineError, match=r"144 pixels block_12_add has 81 positions and 96 ch"):
        pooling.check_positions(shapes(144), 144, "covariance")


@pytest.mark.parametrize(("pooled", "fewest"), [("covariance", 8), ("mean_std", 2), ("average", 1)])
def test_each_pooling_has_its_fewest_positions(pooled, fewest):
    pooling.check_positions({"layer": (fewest, 8)}, 96, pooled)
    with pytest.raises(
        PipelineError, match=f"pooling: {pooled}: at 96 .* needs {fewest} positions"
    ):
        pooling.check_positions({"layer": (fewest - 1, 8)}, 96, pooled)
