"""The dense layers behind a Keras network, as `serving.dense` computes them in NumPy."""

from collections.abc import Sequence
from typing import Any

import numpy as np

Layers = list[dict[str, Any]]
Arrays = dict[str, np.ndarray]

_EPSILON = np.float32(1e-7)  # of Keras's layer Normalization


class UnknownLayer(Exception):
    """A layer that NumPy does not compute; the message says which."""


def dense_layers(layers: Sequence[Any]) -> tuple[Layers, Arrays]:
    """Describe Keras layers that follow one another, from features to the logit.

    Returns:
        The layers and their arrays, as `serving.dense.Dense` takes them.

    Raises:
        UnknownLayer: one of the layers is of another kind.
    """
    found: Layers = []
    arrays: Arrays = {}
    for layer in layers:
        for kind, values in _parts(layer):
            for name in [name for name in values if name != "slope"]:
                arrays[f"{name}_{len(found)}"] = np.asarray(values.pop(name), "float32")
            found.append({"kind": kind, **values})
    return found, arrays


def standard_deviation(normalization: Any) -> np.ndarray:
    """What Keras's layer `Normalization` divides by, (d,)."""
    return np.maximum(np.sqrt(np.ravel(normalization.variance)), _EPSILON)


def _parts(layer: Any) -> list[tuple[str, dict[str, Any]]]:
    """What one Keras layer does, in order."""
    from keras import layers

    match layer:
        case layers.Dropout():
            return []
        case layers.Dense() if layer.activation.__name__ in ("linear", "relu"):
            kernel, bias = layer.get_weights()
            dense = ("dense", {"kernel": kernel, "bias": bias})
            relu = layer.activation.__name__ == "relu"
            return [dense, ("leaky", {"slope": 0.0})] if relu else [dense]
        case layers.Normalization():
            scale = 1 / standard_deviation(layer)
            return [("affine", {"scale": scale, "offset": -np.ravel(layer.mean) * scale})]
        case layers.BatchNormalization():
            scale, offset, mean, variance = layer.get_weights()
            scale = scale / np.sqrt(variance + layer.epsilon)
            return [("affine", {"scale": scale, "offset": offset - mean * scale})]
        case layers.LeakyReLU():
            return [("leaky", {"slope": float(layer.negative_slope)})]
        case layers.ReLU():
            return [("leaky", {"slope": 0.0})]
    raise UnknownLayer(f"its layer {layer.name} is a {type(layer).__name__}")
