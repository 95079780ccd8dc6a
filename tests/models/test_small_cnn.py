"""Small CNNs from their description: the twenty of `experiments/s3.yaml`, shapes and refusals."""

import re
from pathlib import Path

import numpy as np
import pytest
import yaml

from deepfake.common.errors import PipelineError
from deepfake.models import image_model, small_cnn
from tests.support.networks import noise_images

ROOT = Path(__file__).resolve().parents[2]
TWENTY = [
    entry["set"]["train.cnn.layers"]
    for entry in yaml.safe_load((ROOT / "experiments/s3.yaml").read_text())["experiments"]
]
TINY = ["c4k4s2v relu", "bn", "pool2s1", "c4", "leaky0.1", "drop0.5", "flat", "d8 relu", "d1"]


@pytest.mark.parametrize("number", range(20))
def test_the_twenty_of_s3_fit_images_of_128_pixels(number):
    layers = small_cnn.parse(TWENTY[number])
    assert small_cnn.shapes(layers, 128)[-1] == (1,)


def test_shapes_follow_kernel_stride_and_padding():
    assert small_cnn.shapes(small_cnn.parse(TINY), 32) == [
        (15, 15, 4), (15, 15, 4), (15, 15, 4), (14, 14, 4), (14, 14, 4), (14, 14, 4), (14, 14, 4),
        (784,), (8,), (8,), (1,),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("layers", "size", "told"),
    [
        (["c8", "gelu", "flat", "d1"], 32, "layers.1: received 'gelu'; 'gelu' is no layer"),
        (["c8 bn", "flat", "d1"], 32, "layers.0: received 'c8 bn'; an item is one layer"),
        (["c0", "flat", "d1"], 32, "layers.0: received 'c0'"),
        (["drop1", "flat", "d1"], 32, "layers.0: received 'drop1'"),
        (["c8", "flat", "d2"], 32, "received 'd2' as the last item"),
        (["c8", "d1"], 32, "received d1 on a map of 32 × 32; flat must come before"),
        (["flat", "c8", "d1"], 32, "received 'conv' behind flat"),
        (["flat", "flat", "d1"], 32, "received 'flat' behind flat"),
        (["pool2"] * 6 + ["flat", "d1"], 32, "received pool of 2 × 2 on a map of 1 × 1"),
        (["c8k40v", "flat", "d1"], 32, "conv of 40 × 40 on a map of 32 × 32 .*input_size 32"),
        (["c64", "flat", "d4096", "d1"], 1024, "weights; at most 500,000,000 are allowed"),
        (["flat", "d8 sigmoid", "d1"], 32, "no other layer has a sigmoid"),
        (["d1 sigmoid relu"], 32, "an item is one layer"),
    ],
)
def test_a_description_that_is_no_network_is_refused(layers, size, told):
    with pytest.raises(PipelineError, match=rf"^train\.cnn\.(?=layers).*{told}"):
        small_cnn.check(layers, size)


@pytest.mark.slow
def test_keras_builds_the_same_shapes_and_the_saved_model_equals(tmp_path):
    import keras

    classify = small_cnn.build(TINY, 32, 127.0)
    built = [layer.output.shape[1:] for layer in classify.layers[2:-1]]
    assert built == small_cnn.shapes(small_cnn.parse(TINY), 32)
    model = image_model.of_any_size(classify)
    image_model.save(model, tmp_path / "cnn.keras")
    loaded = keras.models.load_model(tmp_path / "cnn.keras")
    pixels = noise_images(2, 50, 40)
    np.testing.assert_array_equal(np.asarray(loaded(pixels)), np.asarray(model(pixels)))
    assert re.fullmatch(r"conv_\d+", classify.layers[2].name)
