"""The backbone and its weights."""

import numpy as np
import pytest

from deepfake.common.errors import PipelineError
from deepfake.models import mobilenet_v2
from deepfake.params import ALPHAS

pytestmark = pytest.mark.slow


def test_random_filters_do_not_answer_to_brightness(network):
    for name in ("Conv1", "block_5_depthwise"):
        (kernel,) = network.get_layer(name).get_weights()
        np.testing.assert_allclose(kernel.sum(axis=(0, 1)), 0, atol=1e-5)
        assert np.abs(kernel).max() > 0.01


def test_auto_weights_fall_back_where_imagenet_cannot_be_had(monkeypatch):
    mobilenet = mobilenet_v2.mobilenet

    def refused(alpha, weights, precision="float32"):
        if weights == "imagenet":
            raise Exception("URL fetch failure on https://example.invalid: refused")
        return mobilenet(alpha, weights, precision)

    monkeypatch.setattr(mobilenet_v2, "mobilenet", refused)
    assert mobilenet_v2.initial("auto", 0.35)[1] == "random"
    with pytest.raises(PipelineError, match=r"_1\.0_224_no_top.h5.*KERAS_HOME"):
        mobilenet_v2.initial("imagenet", 1.0)


def keras_shapes(alpha, size):
    """Positions and channels of each layer, by Keras."""
    import keras

    built = mobilenet_v2.mobilenet(alpha, None)
    outputs = keras.Model(built.inputs, [layer.output for layer in built.layers])(
        np.zeros((1, size, size, 3), "f")
    )
    return {
        (layer.name, size): (output.shape[1] * output.shape[2], output.shape[3])
        for layer, output in zip(built.layers, outputs, strict=True)
    }


@pytest.mark.parametrize("alpha", ALPHAS)
def test_layer_names_are_those_of_keras(alpha):
    built = mobilenet_v2.mobilenet(alpha, None)
    assert mobilenet_v2.layer_names() == [layer.name for layer in built.layers[1:]]
    shapes = keras_shapes(alpha, 96)
    for layer in built.layers[1:]:
        if not layer.name.endswith("_pad"):
            wanted = shapes[layer.name, 96]
            assert mobilenet_v2.shape(layer.name, alpha, 96) == wanted, layer.name


def test_imagenet_file_is_the_one_that_keras_asks_for(monkeypatch):
    asked = []

    def get_file(name, *_, **__):
        asked.append(name)
        raise OSError("no network")

    monkeypatch.setattr("keras.src.utils.file_utils.get_file", get_file)
    with pytest.raises(OSError, match="no network"):
        mobilenet_v2.mobilenet(0.35, "imagenet")
    assert asked == [mobilenet_v2.imagenet_file(0.35).name]


def test_a_layer_that_does_not_exist_is_refused_with_those_like_it():
    with pytest.raises(
        PipelineError, match=r"embed.layers: .* no layer 'block_1_expand_rel'.*_relu"
    ):
        mobilenet_v2.check_layers(["block_1_expand_rel"], "all", tuned=False)
    with pytest.raises(PipelineError, match=r"from_layer: MobileNetV2 has no layer 'block_99'"):
        mobilenet_v2.check_layers(["block_1_expand_relu"], "block_99", tuned=False)


def test_a_first_trained_layer_behind_all_in_use_is_refused_if_the_network_is_tuned():
    mobilenet_v2.check_layers(["block_3_expand_relu"], "block_10_expand", tuned=False)
    with pytest.raises(PipelineError, match="nothing would be trained"):
        mobilenet_v2.check_layers(["block_3_expand_relu"], "block_10_expand", tuned=True)
    mobilenet_v2.check_layers(["block_12_add"], "block_12_project", tuned=True)
    for name in ("block_12_project_BN", "block_12_add"):  # batch-norm is frozen
        with pytest.raises(PipelineError, match="there is no convolution from it to the last"):
            mobilenet_v2.check_layers(["block_12_add"], name, tuned=True)


def test_random_weights_keep_activations_of_every_layer_in_the_same_range():
    import keras

    from deepfake.data.textures import textures

    network, _ = mobilenet_v2.initial("random", 0.35)
    names = ["block_1_project_BN", "block_6_project_BN", "block_13_project_BN"]
    taps = keras.Model(network.input, [network.get_layer(name).output for name in names])
    for output in taps(textures(2, 128, 5) / 127.5 - 1, training=False):
        assert 0.2 < np.asarray(output).std() < 5
