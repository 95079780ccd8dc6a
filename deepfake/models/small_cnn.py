"""Small convolutional networks from a short description, one layer an item.

| item | layer |
|---|---|
| `c32` | convolution of 32 filters, 3×3, stride 1, padded; `c16k4s2v`: 4×4, stride 2, not padded |
| `bn` | batch normalisation |
| `pool2` | maximum of 2×2 in steps of 2; `pool2s1`: in steps of 1 |
| `flat` | all values in one row |
| `d128` | dense layer of 128 units, behind `flat`; the last layer is `d1`, or `d1 sigmoid` |
| `drop0.5` | dropout of half of the values |
| `relu`, `leaky0.01` | activation; also behind a convolution or a dense layer: `c32 relu` |
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from deepfake.common.errors import PipelineError
from deepfake.models import image_model

_KEY = "train.cnn.layers"
_FORMS = {
    "conv": re.compile(r"c([1-9]\d*)(?:k([1-9]\d*))?(?:s([1-9]\d*))?(v)?"),
    "bn": re.compile(r"bn"),
    "pool": re.compile(r"pool([1-9]\d*)(?:s([1-9]\d*))?"),
    "flat": re.compile(r"flat"),
    "dense": re.compile(r"d([1-9]\d*)"),
    "drop": re.compile(r"drop(0(?:\.\d+)?)"),
    "relu": re.compile(r"relu"),
    "leaky": re.compile(r"leaky(0?\.\d+)"),
    "sigmoid": re.compile(r"sigmoid"),
}
_ALLOWED = "c32 (c16k4s2v), bn, pool2 (pool2s1), flat, d128, drop0.5, relu, leaky0.01"
_ACTIVATED, _ACTIVATIONS = ("conv", "dense"), ("relu", "leaky", "sigmoid")
_MOST_WEIGHTS = 500_000_000  # 2 GB in float32

Shape = tuple[int, ...]  # (height, width, channels), or (units,) behind `flat`


@dataclass(frozen=True)
class Layer:
    """One layer.

    Attributes:
        kind: a key of the table of forms, such as `conv`.
        number: filters, units, the window of a pool, a rate or a slope; 0 for other kinds.
        kernel: side of a convolution's kernel.
        stride: of a convolution or a pool.
        valid: whether a convolution leaves out the edges instead of padding them with zeros.
    """

    kind: str
    number: float = 0
    kernel: int = 3
    stride: int = 1
    valid: bool = False


def parse(layers: Sequence[str]) -> list[Layer]:
    """Read a description into layers, without the final sigmoid, which every model here ends in.

    Raises:
        PipelineError: an item is not a layer, or is in the wrong place; the message names it.
    """
    found: list[Layer] = []
    for place, item in enumerate(layers):
        words = item.split()
        read = [_layer(word, place, item) for word in words]
        activated = len(read) == 2 and read[0].kind in _ACTIVATED and read[1].kind in _ACTIVATIONS
        if len(read) != 1 and not activated:
            raise _refused(place, item, "an item is one layer, or c… or d… and its activation")
        found += read
    if found and found[-1].kind == "sigmoid":
        found.pop()
    if not found or found[-1] != Layer("dense", 1) or any(x.kind == "sigmoid" for x in found):
        raise PipelineError(
            f"{_KEY}: received {layers[-1]!r} as the last item; the last layer must be d1, with "
            "sigmoid as its activation or none, and no other layer has a sigmoid"
        )
    return found


def _layer(word: str, place: int, item: str) -> Layer:
    for kind, form in _FORMS.items():
        match = form.fullmatch(word)
        if match is None:
            continue
        if kind == "conv":
            filters, kernel, stride, valid = match.groups()
            return Layer(kind, int(filters), int(kernel or 3), int(stride or 1), bool(valid))
        if kind == "pool":
            window, stride = match.groups()
            return Layer(kind, int(window), stride=int(stride or window))
        return Layer(kind, float(match[1]) if match.groups() else 0)
    raise _refused(place, item, f"{word!r} is no layer; layers are {_ALLOWED}")


def shapes(layers: Sequence[Layer], size: int) -> list[Shape]:
    """The shape of what each layer gives, for images of `size` × `size` pixels.

    Raises:
        PipelineError: a layer does not fit what comes before it, or there are too many weights.
    """
    shape: Shape = (size, size, 3)
    found: list[Shape] = []
    weights = 0
    for layer in layers:
        before = shape
        shape = _after(layer, shape, size)
        if layer.kind in _ACTIVATED:
            weights += int(before[-1] * layer.number * (layer.kernel**2 if len(shape) > 1 else 1))
        found.append(shape)
    if weights > _MOST_WEIGHTS:
        raise PipelineError(
            f"{_KEY}: with input_size {size} the network has {weights:,} weights; at most "
            f"{_MOST_WEIGHTS:,} are allowed: pool more before flat, or use fewer units"
        )
    return found


def _after(layer: Layer, shape: Shape, size: int) -> Shape:
    """The shape behind `layer`; raises PipelineError if it does not fit `shape`."""
    if layer.kind in ("conv", "pool", "flat") and len(shape) == 1:
        raise PipelineError(f"{_KEY}: received {layer.kind!r} behind flat; only d… can follow")
    if layer.kind == "dense":
        if len(shape) > 1:
            raise PipelineError(
                f"{_KEY}: received d{layer.number:g} on a map of {shape[0]} × {shape[1]}; flat "
                "must come before the first d…"
            )
        return (int(layer.number),)
    if layer.kind == "flat":
        return (math.prod(shape),)
    if layer.kind not in ("conv", "pool"):
        return shape
    if layer.kind == "conv" and not layer.valid:
        side, channels = math.ceil(shape[0] / layer.stride), int(layer.number)
    else:
        window = layer.kernel if layer.kind == "conv" else int(layer.number)
        side = (shape[0] - window) // layer.stride + 1
        channels = int(layer.number) if layer.kind == "conv" else shape[2]
        if window > shape[0]:
            raise PipelineError(
                f"{_KEY}: received {layer.kind} of {window} × {window} on a map of {shape[0]} × "
                f"{shape[1]} (train.cnn.input_size {size}); it must be at least as large"
            )
    return (side, side, channels)


def _refused(place: int, item: str, allowed: str) -> PipelineError:
    return PipelineError(f"{_KEY}.{place}: received {item!r}; {allowed}")


def check(layers: Sequence[str], size: int) -> None:
    """Refuse a description that is no network for images of this size; raises PipelineError."""
    shapes(parse(layers), size)


def build(layers: Sequence[str], size: int, scaling: float, precision: str = "float32") -> Any:
    """Build the network with random weights.

    Args:
        layers: its description.
        size: side of the images, in pixels.
        scaling: pixels are divided by it.
        precision: the Keras policy of all layers but the last.

    Returns:
        A Keras model `classify` from float32 pixels (batch, size, size, 3) in [0, 255] to P(fake)
        (batch, 1).
    """
    import keras

    check(layers, size)
    pixels = keras.Input((size, size, 3), dtype="float32", name="resized")
    x = keras.layers.Rescaling(1 / scaling, dtype="float32", name="scale")(pixels)
    for number, layer in enumerate(parse(layers)[:-1], start=1):
        x = _keras_layer(layer, dtype=precision, name=f"{layer.kind}_{number}")(x)
    return image_model.classifier(pixels, x)


def _keras_layer(layer: Layer, **shared: Any) -> Any:
    from keras import layers

    match layer.kind:
        case "conv":
            padding = "valid" if layer.valid else "same"
            size = {"kernel_size": layer.kernel, "strides": layer.stride, "padding": padding}
            return layers.Conv2D(int(layer.number), **size, **shared)
        case "pool":
            return layers.MaxPooling2D(int(layer.number), layer.stride, **shared)
        case "bn":
            return layers.BatchNormalization(**shared)
        case "flat":
            return layers.Flatten(**shared)
        case "dense":
            return layers.Dense(int(layer.number), **shared)
        case "drop":
            return layers.Dropout(layer.number, **shared)
        case "leaky":
            return layers.LeakyReLU(layer.number, **shared)
        case _:
            return layers.ReLU(**shared)
