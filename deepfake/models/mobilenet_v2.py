"""MobileNetV2 (Sandler et al. 2018, arXiv 1801.04381) and its weights: ImageNet's or random.

Batch-norm is frozen here, once for every use. The network takes pixels in [-1, 1];
`pooling.features` scales them.
"""

import socket
import warnings
from pathlib import Path
from typing import Any

from deepfake.common.errors import PipelineError

DOWNLOAD_TIMEOUT = 20.0


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
    name = f"mobilenet_v2_weights_tf_dim_ordering_tf_kernels_{alpha}_224_no_top.h5"
    raise PipelineError(
        f"backbone.weights: imagenet: the weights are not available ({error}). Either connect to "
        f"the network once, or put {name} into the folder models/ of Keras's cache (~/.keras, or "
        "the folder that KERAS_HOME names), or use weights: random"
    )


def load(path: Path | str, alpha: float, precision: str = "float32") -> Any:
    """MobileNetV2 with the weights that the `backbone` stage wrote to `path`."""
    model = mobilenet(alpha, None, precision)
    model.load_weights(path)
    return model


def layer(model: Any, name: str) -> Any:
    """The layer `name` of MobileNetV2; `PipelineError` with the possible names if there is none."""
    names = [item.name for item in model.layers]
    if name not in names:
        raise PipelineError(f"MobileNetV2 has no layer {name!r}; it has: {', '.join(names[1:])}")
    return model.get_layer(name)
