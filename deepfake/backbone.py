"""MobileNetV2 (Sandler et al. 2018, arXiv 1801.04381) and what is read off its activations.

Pixels enter as float32 in [0, 255]; the scaling to [-1, 1] that the ImageNet weights expect is
part of the model, so that training and use cannot differ.
"""

import socket
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deepfake.errors import PipelineError
from deepfake.params import BackboneParams, EmbedParams

DOWNLOAD_TIMEOUT = 20.0
STD_FLOOR = 1e-12


def mobilenet(alpha: float, weights: str | None, precision: str = "float32") -> Any:
    """Keras's MobileNetV2 without its classifier, for pictures of any size, under a policy."""
    import keras

    previous = keras.mixed_precision.global_policy()
    keras.mixed_precision.set_global_policy(precision)
    try:
        with warnings.catch_warnings():
            # It says that 224 is assumed where no input size is given: that is meant.
            warnings.simplefilter("ignore")
            model = keras.applications.MobileNetV2(
                alpha=alpha, include_top=False, weights=weights, name="mobilenet_v2"
            )
    finally:
        keras.mixed_precision.set_global_policy(previous)
    for item in model.layers:
        # Frozen, it uses the statistics it came with, whatever mode the model is called in.
        if isinstance(item, keras.layers.BatchNormalization):
            item.trainable = False
    return model


def initial(weights: str, alpha: float) -> tuple[Any, str]:
    """MobileNetV2 with `weights`: `imagenet`, `random` or `auto`.

    Returns:
        The model, and which weights it has: `imagenet` or `random`.

    Raises:
        PipelineError: ImageNet weights were asked for and are neither cached nor to be had.
    """
    if weights == "random":
        return _random(alpha), "random"
    previous = socket.getdefaulttimeout()
    socket.setdefaulttimeout(DOWNLOAD_TIMEOUT)
    try:
        return mobilenet(alpha, "imagenet"), "imagenet"
    except (OSError, ValueError) as error:
        # get_file raises plain Exception for a failed download; anything else is caught below.
        return _without_imagenet(weights, alpha, error)
    except Exception as error:
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
        f"backbone.weights: imagenet: the weights could not be had ({error}). Either connect to "
        f"the network once, or put {name} into the folder models/ of Keras's cache (~/.keras, or "
        "the folder that KERAS_HOME names), or use weights: random"
    )


def load(path: Path | str, alpha: float, precision: str = "float32") -> Any:
    """MobileNetV2 with the weights that the `backbone` stage wrote to `path`."""
    model = mobilenet(alpha, None, precision)
    model.load_weights(path)
    return model


def saved_features(
    path: Path | str, network: BackboneParams, embed: EmbedParams, precision: str
) -> Any:
    """The `features` that the parameters ask for, of the MobileNetV2 that `load` reads."""
    model = load(path, network.alpha, precision)
    return features(model, embed.layers, embed.statistics, network.image_size, embed.scales)


def resized(pixels: Any, image_size: int) -> Any:
    """Pixels (batch, height, width, 3) of any size and type as float32 (batch, image_size,
    image_size, 3) in the same range.

    Bilinear, with antialiasing where it shrinks; the centre square of a picture that is not one.
    An operation, not Keras's `Resizing` layer: that one puts the layers after it in training mode
    when a model is called without saying which.
    """
    from keras import ops

    return ops.image.resize(
        ops.cast(pixels, "float32"),  # integers would be rounded
        (image_size, image_size),
        interpolation="bilinear",
        antialias=True,
        crop_to_aspect_ratio=True,
        data_format="channels_last",
    )


def features(
    model: Any,
    layers: Sequence[str],
    statistics: Sequence[str],
    image_size: int | None,
    scales: Sequence[float] = (1.0,),
) -> Any:
    """A Keras model from float32 pixels (batch, image_size, image_size, 3) in [0, 255] to float32
    features (batch, d): for each scale in turn, the picture resized to `scale * image_size`; for
    each layer; for each statistic; one value a channel. Without `image_size`, of pictures of any
    size, in one scale.

    `mean` and `std` are over the picture's positions, computed in float32 (global texture
    statistics, in the spirit of Gram-Net, Liu et al. 2020, arXiv 2002.00133). Only what lies
    before the deepest layer named is computed; batch-norm is in inference mode always.

    Raises:
        PipelineError: the network has no layer of that name.
    """
    import keras
    from keras import ops

    pixels = keras.Input((image_size, image_size, 3), dtype="float32", name="resized")
    scaled = keras.layers.Rescaling(1 / 127.5, offset=-1, dtype="float32", name="scale")(pixels)
    trunk = keras.Model(
        model.input, [layer(model, name).output for name in layers], name="mobilenet_v2"
    )
    parts = []
    for scale in scales:
        smaller = scaled
        if image_size and round(scale * image_size) != image_size:
            smaller = resized(scaled, round(scale * image_size))
        outputs = trunk(smaller, training=False)
        for output in outputs if isinstance(outputs, list | tuple) else [outputs]:
            parts += [statistic(name, output) for name in statistics]
    joined = ops.concatenate(parts, axis=-1) if len(parts) > 1 else parts[0]
    return keras.Model(pixels, joined, name="features")


def statistic(name: str, activations: Any) -> Any:
    """`mean` or `std` over the positions of activations (batch, h, w, c), float32 (batch, c)."""
    from keras import ops

    activations = ops.cast(activations, "float32")
    if name == "mean":
        return ops.mean(activations, axis=(1, 2))
    # The root's slope at 0 is infinite, which fine-tuning would meet in dead channels.
    return ops.sqrt(ops.maximum(ops.var(activations, axis=(1, 2)), STD_FLOOR))


def layer(model: Any, name: str) -> Any:
    """The layer `name` of MobileNetV2; `PipelineError` with the possible names if there is none."""
    names = [item.name for item in model.layers]
    if name not in names:
        raise PipelineError(f"MobileNetV2 has no layer {name!r}; it has: {', '.join(names[1:])}")
    return model.get_layer(name)
