"""`pooling.features` in two parts: the layers before the first that is trained, whose activations
for an image never change, and the rest.

In float32 batch-norm, which is in inference mode always, is folded into the convolution before it:
`scale * (kernel * x) + shift` becomes `(scale * kernel) * x + shift`, which TensorFlow computes
with bias and activation in one pass over memory, forwards and backwards. What is trained is the
kernel still, and results are the same but for the order of the arithmetic. In 16-bit precision a
folded kernel would be rounded differently, so there every layer is called as it is.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from deepfake.models import pooling


@dataclass(frozen=True)
class _Step:
    """One layer, or several computed as one: tensors by their names."""

    inputs: list[str]
    output: str
    call: Callable[..., Any]


class SplitNetwork:
    """`frozen`, then `trained`, computes what the model `features` does.

    Args:
        features: what `pooling.features` gave for these `statistics`, `image_size` and `scales`.
        from_layer: the first layer of MobileNetV2 in the second part; `all`: the first there is.
        fold: whether to fold batch-norm.
    """

    def __init__(
        self,
        features: Any,
        from_layer: str,
        *,
        statistics: Sequence[str],
        image_size: int,
        scales: Sequence[float],
        fold: bool,
    ) -> None:
        self._scale = features.get_layer("scale")
        trunk = features.get_layer("mobilenet_v2")
        self._statistics = statistics
        self._sizes = [round(scale * image_size) for scale in scales]
        names = [layer.name for layer in trunk.layers]
        start = 1 if from_layer == "all" else max(1, names.index(from_layer))
        self.has_frozen = start > 1
        self._described = [tensor.name for tensor in trunk.outputs]
        self._channels = {tensor.name: tensor.shape[-1] for tensor in trunk.outputs}
        self._input = trunk.inputs[0].name
        before, after = trunk.layers[1:start], trunk.layers[start:]
        computed = [self._input, *(layer.output.name for layer in before)]
        used = {name for layer in after for name in _inputs(layer)}
        self._crossing = [name for name in computed if name in used]
        self._before = _fused(before, {*self._crossing, *self._described}, fold)
        self._after = _fused(after, set(self._described), fold)
        self._early = [name for name in self._described if name in computed]

    def frozen(self, pixels: Any) -> list[Any]:
        """From float32 pixels (n, image_size, image_size, 3) in [0, 255] all that `trained` needs,
        tensors of n rows: for each scale the activations that it starts from, then the statistics
        of frozen layers, one float32 (n, values) where there are any."""
        from keras import ops

        scaled = self._scale(pixels)
        kept, described = [], []
        for size in self._sizes:
            shown = scaled if size == pixels.shape[1] else pooling.resized(scaled, size)
            values = _run(self._before, {self._input: shown})
            kept += [values[name] for name in self._crossing]
            described += [s for name in self._early for s in self._describe(values[name])]
        return [*kept, ops.concatenate(described, axis=-1)] if described else kept

    def trained(self, kept: Sequence[Any]) -> Any:
        """From what `frozen` gives float32 features (n, d)."""
        from keras import ops

        parts = []
        width, taken = len(self._crossing), 0
        for number in range(len(self._sizes)):
            given = kept[number * width : (number + 1) * width]
            values = _run(self._after, dict(zip(self._crossing, given, strict=True)))
            for name in self._described:
                if name in self._early:
                    end = taken + len(self._statistics) * self._channels[name]
                    parts.append(kept[-1][:, taken:end])
                    taken = end
                else:
                    parts += self._describe(values[name])
        return ops.concatenate(parts, axis=-1) if len(parts) > 1 else parts[0]

    def _describe(self, activations: Any) -> list[Any]:
        return [pooling.statistic(name, activations) for name in self._statistics]


def _inputs(layer: Any) -> list[str]:
    given = layer.input if isinstance(layer.input, list) else [layer.input]
    return [tensor.name for tensor in given]


def _fused(layers: Sequence[Any], needed: set[str], fold: bool) -> list[_Step]:
    """The layers as steps in their order, padding, convolution and batch-norm as one where they
    follow one another, unless what is between them is `needed`."""
    import keras

    users = Counter(name for layer in layers for name in _inputs(layer))
    by_output = {layer.output.name: layer for layer in layers}

    def before(layer: Any, *kinds: Any) -> Any:
        (name,) = _inputs(layer)
        alone = users[name] == 1 and name not in needed
        found = by_output.get(name)
        return found if alone and isinstance(found, kinds) else None

    steps: dict[str, _Step] = {}
    for layer in layers:
        name = layer.output.name
        steps[name] = _Step(_inputs(layer), name, _called(layer))
        if not fold or not isinstance(layer, keras.layers.BatchNormalization):
            continue
        conv = before(layer, keras.layers.Conv2D, keras.layers.DepthwiseConv2D)
        if conv is None:
            continue
        pad = before(conv, keras.layers.ZeroPadding2D)
        steps[name] = _Step(_inputs(pad or conv), name, _folded(pad, conv, layer))
        for absorbed in filter(None, (pad, conv)):
            del steps[absorbed.output.name]
    return list(steps.values())


def _called(layer: Any) -> Callable[..., Any]:
    return lambda *given: layer(list(given) if len(given) > 1 else given[0], training=False)


def _folded(pad: Any, conv: Any, norm: Any) -> Callable[[Any], Any]:
    """Padding (or None), convolution and batch-norm as one convolution with a bias."""
    import keras
    import tensorflow as tf

    depthwise = isinstance(conv, keras.layers.DepthwiseConv2D)
    pointwise = not depthwise and conv.kernel_size == (1, 1) and conv.strides == (1, 1)

    def call(x: Any) -> Any:
        scale = norm.gamma.value * tf.math.rsqrt(norm.moving_variance.value + norm.epsilon)
        shift = norm.beta.value - norm.moving_mean.value * scale
        if pointwise:
            return _pointwise(x, conv.kernel.value * scale, shift)
        padding = conv.padding.upper()
        if pad is not None and _is_same(pad.padding, conv, x.shape[1:3]):
            padding = "SAME"
        elif pad is not None:
            x = pad(x)
        if depthwise:
            strides = (1, *conv.strides, 1)
            y = tf.nn.depthwise_conv2d(x, conv.kernel.value * scale[:, None], strides, padding)
        else:
            y = tf.nn.conv2d(x, conv.kernel.value * scale, conv.strides, padding)
        return tf.nn.bias_add(y, shift)

    return call


def _pointwise(x: Any, kernel: Any, bias: Any) -> Any:
    """A convolution by one position, whose gradients are products of matrices: faster as those.
    The bias is not trained."""
    import tensorflow as tf

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def convolved(x: Any, kernel: Any) -> tuple[Any, Callable[..., Any]]:
        def gradient(upstream: Any) -> tuple[Any, Any]:
            rows = tf.reshape(upstream, [-1, upstream.shape[-1]])
            to_x = tf.matmul(rows, kernel[0, 0], transpose_b=True)
            to_kernel = tf.matmul(tf.reshape(x, [-1, x.shape[-1]]), rows, transpose_a=True)
            return tf.reshape(to_x, tf.shape(x)), to_kernel[None, None]

        return tf.nn.bias_add(tf.nn.conv2d(x, kernel, 1, "VALID"), bias), gradient

    return convolved(x, kernel)


def _is_same(padding: Iterable[tuple[int, int]], conv: Any, sizes: Sequence[int]) -> bool:
    """Whether this padding is what TensorFlow's `SAME` adds, which needs no copy."""
    same = []
    for size, kernel, stride in zip(sizes, conv.kernel_size, conv.strides, strict=True):
        total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        same.append((total // 2, total - total // 2))
    return [tuple(pair) for pair in padding] == same


def _run(steps: Sequence[_Step], given: Mapping[str, Any]) -> dict[str, Any]:
    """The tensors given and those that the steps compute, by name."""
    values = dict(given)
    for step in steps:
        values[step.output] = step.call(*(values[name] for name in step.inputs))
    return values
