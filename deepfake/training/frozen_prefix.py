"""The features of a network in two parts: the frozen layers, whose activations for an image never
change while the rest trains, and the trained layers behind them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from deepfake.common.errors import PipelineError
from deepfake.models import pooling


@dataclass(frozen=True)
class SplitNetwork:
    """Two Keras models that share their layers with the network they were cut from.

    Attributes:
        frozen: from float32 pixels (n, image_size, image_size, 3) in [0, 255] to a list of tensors
            of n rows (to the tensor itself if there is only one). For each scale: the activations
            that cross the cut and, if any frozen layers are described, their statistics.
        trained: from that list to float32 features (n, d).
        has_frozen: whether any layer lies before the cut; without one, `frozen` only scales
            pixels.
    """

    frozen: Any
    trained: Any
    has_frozen: bool


def split(
    features: Any,
    from_layer: str,
    *,
    statistics: Sequence[str],
    image_size: int,
    scales: Sequence[float],
) -> SplitNetwork:
    """Cut `features` before `from_layer` of its network.

    Args:
        features: a model made by `pooling.features` for these `statistics`, `image_size` and
            `scales`; its network may be any functional Keras model.
        from_layer: the first trained layer; `all`: the first layer of the network.
    """
    import keras

    network = features.get_layer("mobilenet_v2")
    start = max(1, _first_trained(network, from_layer))  # layer 0 is the input
    prefix, suffix = _cut(network, start, statistics)

    pixels = keras.Input((image_size, image_size, 3), dtype="float32")
    scaled = features.get_layer("scale")(pixels)
    activations: list[Any] = []
    for scale in scales:
        size = round(scale * image_size)
        shown = scaled if size == image_size else pooling.resized(scaled, size)
        activations += keras.tree.flatten(prefix(shown, training=False))
    frozen = keras.Model(pixels, activations, name="frozen")

    inputs = [keras.Input(tensor.shape[1:], dtype=tensor.dtype) for tensor in activations]
    width = len(prefix.outputs)
    parts = [
        suffix(inputs[first : first + width], training=False)
        for first in range(0, len(inputs), width)
    ]
    trained = keras.Model(inputs, _joined(parts), name="trained")
    return SplitNetwork(frozen, trained, has_frozen=start > 1)


def _cut(network: Any, start: int, statistics: Sequence[str]) -> tuple[Any, Any]:
    """Models of the layers before number `start` and of the rest, for pixels of one scale.

    Keras builds a model between any tensors of a network, with the network's own layers.
    """
    import keras

    def describe(output: Any) -> list[Any]:
        return [pooling.statistic(name, output) for name in statistics]

    before, after = network.layers[:start], network.layers[start:]
    computed_before = {id(layer.output) for layer in before}
    early = [output for output in network.outputs if id(output) in computed_before]
    described = [_joined([part for output in early for part in describe(output)])] if early else []
    crossing = _crossing(before, after)
    # Keras refuses a model whose output is its input.
    outputs = [
        keras.layers.Identity()(tensor) if tensor is network.inputs[0] else tensor
        for tensor in crossing
    ]
    prefix = keras.Model(network.inputs, [*outputs, *described])

    given = [keras.Input(tensor.shape[1:], dtype=tensor.dtype) for tensor in described]
    parts: list[Any] = []
    end = 0
    for output in network.outputs:  # the order of the features
        if id(output) in computed_before:
            begin, end = end, end + sum(pooling.width(s, output.shape[-1]) for s in statistics)
            parts.append(given[0][:, begin:end])
        else:
            parts += describe(output)
    return prefix, keras.Model([*crossing, *given], _joined(parts))


def _joined(parts: Sequence[Any]) -> Any:
    from keras import ops

    return ops.concatenate(parts, axis=-1) if len(parts) > 1 else parts[0]


def freeze_before(network: Any, from_layer: str) -> list[Any]:
    """Freeze the layers of `network` before `from_layer` (`all`: none).

    Batch-norm layers are left as they are: frozen.

    Returns:
        The variables that are trained.

    Raises:
        PipelineError: the network has no such layer.
    """
    import keras

    start = _first_trained(network, from_layer)
    for index, layer in enumerate(network.layers):
        if not isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = index >= start
    return list(network.trainable_variables)


def _first_trained(network: Any, from_layer: str) -> int:
    names = [layer.name for layer in network.layers]
    if from_layer == "all":
        return 0
    if from_layer not in names:
        raise PipelineError(
            f"train.fine_tune.from_layer: received {from_layer!r}, which is not among the layers "
            f"in use, {names[1]} to {names[-1]}"
        )
    return names.index(from_layer)


def _crossing(before: Sequence[Any], after: Sequence[Any]) -> list[Any]:
    """The outputs of layers in `before` that layers in `after` take."""
    taken = set()
    for layer in after:
        inputs = layer.input if isinstance(layer.input, list) else [layer.input]
        taken |= {id(tensor) for tensor in inputs}
    return [layer.output for layer in before if id(layer.output) in taken]
