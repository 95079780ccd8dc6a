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

from deepfake.common.errors import PipelineError

DOWNLOAD_TIMEOUT = 20.0
# Keras's names of the layers of a block, in order. Not every block has all of them.
_BLOCK = (
    "expand", "expand_BN", "expand_relu", "pad", "depthwise", "depthwise_BN", "depthwise_relu",
    "project", "project_BN", "add",
)  # fmt: skip
_HALVING = (1, 3, 6, 13)  # blocks of stride 2: they pad, and have nothing to add
_WIDENING = (10, 16)  # blocks of stride 1 with more channels out than in: they cannot add


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
    return model


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
