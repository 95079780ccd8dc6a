"""The head in NumPy: its slope is the derivative of its logit."""

import numpy as np
import pytest

from deepfake.serving.dense import Dense

LAYERS = [
    {"kind": "affine"},
    {"kind": "dense"},
    {"kind": "leaky", "slope": 0.1},
    {"kind": "dense"},
]


def head(layers: list[dict]) -> Dense:
    rng = np.random.default_rng(0)
    arrays = {"scale_0": rng.uniform(0.5, 2, 6), "offset_0": rng.normal(size=6)}
    arrays |= {"kernel_1": rng.normal(size=(6, 5)), "bias_1": rng.normal(size=5)}
    arrays |= {"kernel_3": rng.normal(size=(5, 1)), "bias_3": rng.normal(size=1)}
    return Dense(layers, arrays)


def test_the_slope_is_the_derivative() -> None:
    dense, features = head(LAYERS), np.random.default_rng(1).normal(size=6)
    steps = 1e-6 * np.eye(6)
    found = [(dense.logit(features + s) - dense.logit(features - s)) / 2e-6 for s in steps]
    np.testing.assert_allclose(dense.slope(features), found, rtol=1e-6)


def test_only_a_head_without_hidden_layers_is_linear() -> None:
    assert not head(LAYERS).linear
    rng = np.random.default_rng(2)
    one = Dense([{"kind": "dense"}], {"kernel_0": rng.normal(size=(6, 1)), "bias_0": [0.5]})
    features = rng.normal(size=6)
    assert one.linear
    assert one.logit(features) == pytest.approx(one.slope(features) @ features + 0.5)
