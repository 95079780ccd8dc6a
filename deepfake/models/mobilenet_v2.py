"""MobileNetV2 (Sandler et al. 2018, arXiv 1801.04381) and its weights: ImageNet's or random."""

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from deepfake.common.errors import PipelineError
from deepfake.models import pretrained

WEIGHTS_FILE = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_{alpha}_224_no_top.h5"
# Keras's names of the layers of a block, in order. Not every block has all of them.
_BLOCK = (
    "expand", "expand_BN", "expand_relu", "pad", "depthwise", "depthwise_BN", "depthwise_relu",
    "project", "project_BN", "add",
)  # fmt: skip
_HALVING = (1, 3, 6, 13)  # blocks of stride 2: they pad, and have nothing to add
_WIDENING = (10, 16)  # blocks of stride 1 with more channels out than in: they cannot add
# Channels out of block 0 (expanded_conv) to 16, at width 1.
_CHANNELS = (16, 24, 24, 32, 32, 32, 64, 64, 64, 64, 96, 96, 96, 160, 160, 160, 320)


def layer_names() -> list[str]:
    """The layers of Keras's MobileNetV2 after the input, in order: the same for every width.

    Written down so that parameters can be checked without starting TensorFlow; a test compares
    them with Keras.
    """
    names = ["Conv1", "bn_Conv1", "Conv1_relu"]
    names += [f"expanded_conv_{name}" for name in _BLOCK[4:9]]
    for number in range(1, 17):
        left_out = {"add"} if number in (*_HALVING, *_WIDENING) else set()
        left_out |= set() if number in _HALVING else {"pad"}
        names += [f"block_{number}_{name}" for name in _BLOCK if name not in left_out]
    return [*names, "Conv_1", "Conv_1_bn", "out_relu"]


def check_layers(described: Sequence[str], first_trained: str, *, tuned: bool) -> None:
    """Check the names of layers in the parameters.

    Args:
        described: `embed.layers`.
        first_trained: `train.fine_tune.from_layer`.
        tuned: whether the network is fine-tuned, which `first_trained` must then leave a layer for.

    Raises:
        PipelineError: MobileNetV2 has no such layer, or no convolution from `first_trained` on is
            in use.
    """
    names = layer_names()
    for key, name in [
        *(("embed.layers", name) for name in described),
        ("train.fine_tune.from_layer", first_trained),
    ]:
        if name not in names and (key, name) != ("train.fine_tune.from_layer", "all"):
            like = ", ".join(get_close_matches(name, names, 5, cutoff=0))
            raise PipelineError(
                f"{key}: MobileNetV2 has no layer {name!r}; it has, among others, {like}. "
                "docs/parameters.md says how they are named."
            )
    last = max(described, key=names.index)
    first = 0 if first_trained == "all" else names.index(first_trained)
    if tuned and not any(map(_is_convolution, names[first : names.index(last) + 1])):
        raise PipelineError(
            f"train.fine_tune.from_layer: received {first_trained!r}, but there is no convolution "
            f"from it to the last layer in use, {last!r} (embed.layers), so that nothing would be "
            "trained"
        )


def _is_convolution(name: str) -> bool:
    """Whether a layer is trained; batch-norm is frozen, and the others have no weights."""
    return name in ("Conv1", "Conv_1") or name.endswith(("_expand", "_depthwise", "_project"))


def shape(name: str, alpha: float, image_size: int) -> tuple[int, int]:
    """Positions and channels of a layer's activations, without starting TensorFlow.

    Args:
        name: of the layer.
        alpha: width.
        image_size: pixels.
    """
    if name in ("Conv_1", "Conv_1_bn", "out_relu"):
        return _positions(image_size, 5), _rounded(1280 * max(1.0, alpha))
    if "Conv1" in name:
        return _positions(image_size, 1), _rounded(32 * alpha)
    block = 0 if name.startswith("expanded_conv") else int(name.split("_")[1])
    part = name.removeprefix("expanded_conv_").removeprefix(f"block_{block}_")
    halved = 1 + sum(number <= block for number in _HALVING)
    if block in _HALVING and part.startswith(("expand", "pad")):
        halved -= 1  # the depthwise convolution halves
    if part.startswith("project") or part == "add":
        return _positions(image_size, halved), _rounded(_CHANNELS[block] * alpha)
    if block == 0:
        return _positions(image_size, halved), _rounded(32 * alpha)
    return _positions(image_size, halved), 6 * _rounded(_CHANNELS[block - 1] * alpha)


def _positions(image_size: int, halved: int) -> int:
    side = image_size
    for _ in range(halved):
        side = (side + 1) // 2
    return side * side


def _rounded(channels: float) -> int:
    """Channels as Keras rounds them: to a multiple of 8, and not down by more than a tenth."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


def imagenet_file(alpha: float) -> Path:
    """Where Keras keeps the ImageNet weights of a width, once it has them."""
    return pretrained.cached(WEIGHTS_FILE.format(alpha=alpha))


def mobilenet(alpha: float, weights: str | None, precision: str = "float32") -> Any:
    """Keras's MobileNetV2 without its classifier, for images of any size, under a policy."""
    return pretrained.build(
        "MobileNetV2", precision, alpha=alpha, weights=weights, name="mobilenet_v2"
    )


def initial(weights: str, alpha: float) -> tuple[Any, str]:
    """MobileNetV2 with `weights`; see `pretrained.initial`."""
    return pretrained.initial(
        weights,
        lambda source: mobilenet(alpha, source),
        imagenet_file(alpha),
        lambda pixels: pixels / 127.5 - 1,
    )


def load(path: Path | str, alpha: float, precision: str = "float32") -> Any:
    """MobileNetV2 with the weights that the `backbone` stage wrote to `path`."""
    return pretrained.load(path, mobilenet(alpha, None, precision))
