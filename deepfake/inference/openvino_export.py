"""The frozen network of Keras as a graph of OpenVINO, with which `engine` computes its features."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deepfake.common.errors import PipelineError
from deepfake.common.files import replacing
from deepfake.data.resizing import resized
from deepfake.inference.openvino_engine import Network
from deepfake.models import mobilenet_v2, pooling

CHECKED = 4
LEAST_COSINE = 0.9999
_SPATIAL = np.array([2, 3])  # OpenVINO's convolutions are of (n, c, h, w)


def convert(network: Any, layers: Sequence[str], statistics: Sequence[str], path: Path) -> int:
    """Write `pooling.features` of MobileNetV2, for images of any size in one scale, as
    OpenVINO's `path` (.xml) and the weights beside it (.bin), in float32; the same weights give
    the same bytes.

    Returns:
        How many features there are.
    """
    from openvino.passes import Manager, Serialize

    model = _graph(network, layers, statistics)
    for number, operation in enumerate(model.get_ordered_ops()):
        # Names count what the process made before.
        operation.set_friendly_name(f"{operation.get_type_name()}_{number}")
        for output in operation.outputs():
            output.get_tensor().set_names(set())
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path.with_suffix(".bin")) as weights, replacing(path) as graph:
        passes = Manager()
        passes.register_pass(Serialize(str(graph), str(weights)))
        passes.run_passes(model)
    return int(model.output(0).partial_shape[1].get_length())


def _graph(network: Any, layers: Sequence[str], statistics: Sequence[str]) -> Any:
    from openvino import Model
    from openvino import opset13 as ops

    pixels = ops.parameter([-1, -1, -1, 3], np.float32)
    scaled = ops.subtract(ops.divide(pixels, np.float32(127.5)), np.float32(1))
    nodes = {id(network.input): ops.transpose(scaled, np.array([0, 3, 1, 2]))}
    for layer in network.layers[1:]:
        inputs = layer.input if isinstance(layer.input, list) else [layer.input]
        operation = _OPERATIONS[type(layer).__name__]
        nodes[id(layer.output)] = operation(ops, layer, *(nodes[id(tensor)] for tensor in inputs))
    parts = []
    for name in layers:
        activations = nodes[id(mobilenet_v2.layer(network, name).output)]
        parts += [_statistic(ops, statistic, activations) for statistic in statistics]
    return Model([ops.concat(parts, 1)], [pixels], "features")


def _statistic(ops: Any, name: str, activations: Any) -> Any:
    """`pooling.statistic` of activations (n, c, h, w)."""
    mean = ops.reduce_mean(activations, _SPATIAL, keep_dims=name == "std")
    if name == "mean":
        return mean
    squares = ops.squared_difference(activations, mean)
    variance = ops.reduce_mean(squares, _SPATIAL, keep_dims=False)
    return ops.sqrt(ops.maximum(variance, np.float32(pooling.STD_FLOOR)))


def _convolution(ops: Any, layer: Any, x: Any) -> Any:
    (kernel,) = layer.get_weights()  # (h, w, in, out)
    return ops.convolution(x, kernel.transpose(3, 2, 0, 1).copy(), *_places(layer))


def _depthwise(ops: Any, layer: Any, x: Any) -> Any:
    (kernel,) = layer.get_weights()  # (h, w, channels, 1)
    filters = kernel.transpose(2, 3, 0, 1)[:, None].copy()
    return ops.group_convolution(x, filters, *_places(layer))


def _places(layer: Any) -> tuple[Any, ...]:
    """Strides, padding before and after, dilations and kind of padding."""
    kind = {"same": "same_upper", "valid": "valid"}[layer.padding]
    return list(layer.strides), [0, 0], [0, 0], list(layer.dilation_rate), kind


def _batch_norm(ops: Any, layer: Any, x: Any) -> Any:
    gamma, beta, mean, variance = layer.get_weights()
    scale = gamma / np.sqrt(variance + np.float32(layer.epsilon))
    shift = beta - mean * scale
    return ops.add(ops.multiply(x, scale[:, None, None]), shift[:, None, None])


def _relu(ops: Any, layer: Any, x: Any) -> Any:
    return ops.clamp(x, 0.0, float(layer.max_value))


def _zero_padding(ops: Any, layer: Any, x: Any) -> Any:
    (top, bottom), (left, right) = layer.padding
    return ops.pad(x, [0, 0, top, left], [0, 0, bottom, right], "constant", np.float32(0))


def _add(ops: Any, layer: Any, *inputs: Any) -> Any:
    return ops.add(*inputs)


_OPERATIONS: dict[str, Callable[..., Any]] = {
    "Conv2D": _convolution,
    "DepthwiseConv2D": _depthwise,
    "BatchNormalization": _batch_norm,
    "ReLU": _relu,
    "ZeroPadding2D": _zero_padding,
    "Add": _add,
}


def least_cosine(found: np.ndarray, wanted: np.ndarray) -> float:
    """The least cosine between the features (..., d) of an image by two engines."""
    lengths = np.linalg.norm(wanted, axis=-1) * np.linalg.norm(found, axis=-1)
    return float(((wanted * found).sum(axis=-1) / lengths).min())


def agreement(features: Any, path: Path, seed: int) -> dict[str, float]:
    """How well OpenVINO's features agree with Keras's on `CHECKED` random textures.

    Returns:
        `cosine`, the least of an image, and `difference`, the largest, as a share of the largest
        feature.

    Raises:
        PipelineError: the cosine is below `LEAST_COSINE`.
    """
    size = 128
    coarse = np.random.default_rng(seed).uniform(0, 255, (CHECKED, 16, 16, 3))
    pixels = np.stack([resized(image_file, size) for image_file in coarse])
    wanted = np.asarray(features(pixels, training=False))
    network = Network(path, [size])
    found = np.concatenate([network(image_file[None]) for image_file in pixels])
    cosine = least_cosine(found, wanted)
    if not cosine >= LEAST_COSINE:
        raise PipelineError(
            f"OpenVINO's features are not Keras's (cosine {cosine:.6f}): set embed.engine to "
            "tensorflow, and please report it with the versions of openvino and tensorflow"
        )
    difference = float(np.abs(wanted - found).max() / np.abs(wanted).max())
    return {"cosine": cosine, "difference": difference}
