"""MobileNetV2 (Sandler et al. 2018, arXiv 1801.04381) and its weights: ImageNet's or random.

Batch-norm is frozen here, once for every use. The network takes pixels in [-1, 1];
`pooling.features` scales them.
"""

import os
import socket
import warnings
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np

from deepfake.common.errors import PipelineError
from deepfake.data.textures import textures

DOWNLOAD_TIMEOUT = 20.0
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
        PipelineError: MobileNetV2 has no such layer, or no layer from `first_trained` on is in use.
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
    if tuned and first_trained != "all" and names.index(first_trained) > names.index(last):
        raise PipelineError(
            f"train.fine_tune.from_layer: received {first_trained!r}, but the last layer in use is "
            f"{last!r} (embed.layers), so that nothing would be trained"
        )


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


def check_positions(layers: Sequence[str], alpha: float, sizes: Sequence[int]) -> None:
    """Check that a covariance can be taken of each layer, at each of these sizes in pixels.

    Raises:
        PipelineError: an image has fewer positions in a layer than the layer has channels, so that
            the covariance has no full rank.
    """
    for size in sizes:
        for name in layers:
            positions, channels = shape(name, alpha, size)
            if positions < channels:
                raise PipelineError(
                    f"embed.pooling: covariance: at {size} pixels {name} has {positions} "
                    f"positions and {channels} channels; it needs as many positions as channels. "
                    "Raise backbone.image_size (or embed.scales), leave the layer out of "
                    "embed.layers, or use embed.pooling: mean_std"
                )


def imagenet_file(alpha: float) -> Path:
    """Where Keras keeps the ImageNet weights of a width, once it has them."""
    home = os.environ.get("KERAS_HOME")
    folder = Path(home) if home else Path.home() / ".keras"
    name = f"mobilenet_v2_weights_tf_dim_ordering_tf_kernels_{alpha}_224_no_top.h5"
    return folder / "models" / name


def mobilenet(alpha: float, weights: str | None, precision: str = "float32") -> Any:
    """Keras's MobileNetV2 without its classifier, for images of any size, under a policy."""
    import keras

    previous = keras.mixed_precision.global_policy()
    keras.mixed_precision.set_global_policy(precision)
    try:
        with warnings.catch_warnings():
            # Keras warns that it assumes size 224 if none is given, which is intended.
            warnings.simplefilter("ignore")
            model = keras.applications.MobileNetV2(
                alpha=alpha, include_top=False, weights=weights, name="mobilenet_v2"
            )
    finally:
        keras.mixed_precision.set_global_policy(previous)
    for item in model.layers:
        # Frozen batch-norm always runs in inference mode, even when the model is trained.
        if isinstance(item, keras.layers.BatchNormalization):
            item.trainable = False
    return model


def initial(weights: str, alpha: float) -> tuple[Any, str]:
    """MobileNetV2 with `weights`: `imagenet`, `random` or `auto`.

    Returns:
        The model, and which weights it has: `imagenet` or `random`.

    Raises:
        PipelineError: ImageNet weights were asked for and are neither cached nor available.
    """
    if weights == "random":
        return _random(alpha), "random"
    previous = socket.getdefaulttimeout()
    socket.setdefaulttimeout(DOWNLOAD_TIMEOUT)
    try:
        return mobilenet(alpha, "imagenet"), "imagenet"
    except (OSError, ValueError) as error:
        return _without_imagenet(weights, alpha, error)
    except Exception as error:
        # For a failed download Keras's get_file raises a plain Exception.
        if "URL fetch failure" not in str(error):
            raise
        return _without_imagenet(weights, alpha, error)
    finally:
        socket.setdefaulttimeout(previous)


def _random(alpha: float) -> Any:
    """MobileNetV2 with Keras's random weights, the spatial filters of each channel shifted to sum
    to zero.

    Such filters answer to texture and not to brightness, which is where the traces of manipulation
    are (constrained convolution: Bayar and Stamm 2016, doi 10.1145/2909827.2930786). Unshifted
    random filters mostly average.
    """
    import keras

    model = mobilenet(alpha, None)
    for item in model.layers:
        if isinstance(item, keras.layers.DepthwiseConv2D) or item.name == "Conv1":
            (kernel,) = item.get_weights()
            item.set_weights([kernel - kernel.mean(axis=(0, 1), keepdims=True)])
    _standardise(model)
    return model


def _standardise(model: Any) -> None:
    """Give every batch-norm layer the mean and variance of its input on random textures.

    Without it, activations fade from layer to layer until half precision cannot hold them. The
    numbers are rounded, so that processors that compute a little differently agree.
    """
    import keras

    norms = [m for m in model.layers if isinstance(m, keras.layers.BatchNormalization)]
    for norm in norms:
        norm.trainable, norm.momentum = True, 0.0  # takes the batch's numbers as they are
    model(textures(4, 128, 0) / 127.5 - 1, training=True)
    for norm in norms:
        norm.trainable, norm.momentum = False, 0.99
        gamma, beta, mean, variance = norm.get_weights()
        norm.set_weights([gamma, beta, _coarse(mean), _coarse(variance)])


def _coarse(values: np.ndarray) -> np.ndarray:
    """`values` with 8 bits of precision."""
    mantissa, exponent = np.frexp(values)
    return np.asarray(np.ldexp(np.rint(mantissa * 256) / 256, exponent).astype("float32"))


def _without_imagenet(weights: str, alpha: float, error: Exception) -> tuple[Any, str]:
    if weights == "auto":
        return _random(alpha), "random"
    raise PipelineError(
        f"backbone.weights: imagenet: the weights are not available ({error}). Either connect to "
        f"the network once, or put {imagenet_file(alpha).name} into the folder models/ of Keras's "
        "cache (~/.keras, or the folder that KERAS_HOME names), or use weights: random"
    )


def load(path: Path | str, alpha: float, precision: str = "float32") -> Any:
    """MobileNetV2 with the weights that the `backbone` stage wrote to `path`."""
    model = mobilenet(alpha, None, precision)
    model.load_weights(path)
    return model
