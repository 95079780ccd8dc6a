"""The backbone and its weights."""

import numpy as np
import pytest

from deepfake.common.errors import PipelineError
from deepfake.models import (
    mobilenet_v2,
)

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
