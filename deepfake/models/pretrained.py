"""Networks of `keras.applications` as backbones: their weights are ImageNet's or random.

Batch-norm is frozen here, once for every use.
"""

import os
import socket
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from deepfake.common.errors import PipelineError
from deepfake.common.files import reading
from deepfake.data.textures import textures

DOWNLOAD_TIMEOUT = 20.0


def build(constructor: str, precision: str, **options: Any) -> Any:
    """Build a network of `keras.applications` without its classifier, for images of any size.

    Args:
        constructor: its name in `keras.applications`.
        precision: the Keras policy that it computes under.
        options: of the constructor.
    """
    import keras

    previous = keras.mixed_precision.global_policy()
    keras.mixed_precision.set_global_policy(precision)
    try:
        with warnings.catch_warnings():
            # Keras warns that it assumes size 224 if none is given, which is intended.
            warnings.simplefilter("ignore")
            model = getattr(keras.applications, constructor)(include_top=False, **options)
    finally:
        keras.mixed_precision.set_global_policy(previous)
    for item in model.layers:
        # Frozen batch-norm always runs in inference mode, even when the model is trained.
        if isinstance(item, keras.layers.BatchNormalization):
            item.trainable = False
    return model


def initial(
    wanted: str, new: Callable[[str | None], Any], file: Path, preprocess: Callable[[Any], Any]
) -> tuple[Any, str]:
    """A network with the weights that are wanted: `imagenet`, `random` or `auto`.

    Args:
        wanted: `backbone.weights`.
        new: builds the network with `"imagenet"`, or with None for Keras's random weights.
        file: where Keras keeps the ImageNet weights.
        preprocess: scales pixels in [0, 255] as the network expects them.

    Returns:
        The network, and which weights it has: `imagenet` or `random`.

    Raises:
        PipelineError: ImageNet weights were asked for and are neither cached nor available, or
            their file is damaged.
    """
    if wanted == "random":
        return _random(new, preprocess), "random"
    was_there = file.exists()  # Keras deletes one that is damaged before it downloads it again
    previous = socket.getdefaulttimeout()
    socket.setdefaulttimeout(DOWNLOAD_TIMEOUT)
    try:
        return new("imagenet"), "imagenet"
    except (OSError, ValueError) as error:
        reason: Exception = error
    except Exception as error:
        # For a failed download Keras's get_file raises a plain Exception.
        if "URL fetch failure" not in str(error):
            raise
        reason = error
    finally:
        socket.setdefaulttimeout(previous)
    if was_there:
        raise PipelineError(
            f"backbone.weights: {file} cannot be read ({reason}): it is damaged or incomplete, or "
            "of another network. Delete it if it is still there, so that it is downloaded again, "
            "or copy it again"
        )
    if wanted == "auto":
        return _random(new, preprocess), "random"
    raise PipelineError(
        f"backbone.weights: imagenet: the weights are not available ({reason}). Either connect to "
        f"the network once, or put {file.name} into the folder models/ of Keras's "
        "cache (~/.keras, or the folder that KERAS_HOME names), or use weights: random"
    )


def _random(new: Callable[[str | None], Any], preprocess: Callable[[Any], Any]) -> Any:
    """The network with Keras's random weights, its spatial filters shifted to sum to zero.

    These are the filters of the first convolution and of those of one channel. Such filters answer
    to texture and not to brightness, which is where the traces of manipulation are (constrained
    convolution: Bayar and Stamm 2016, doi 10.1145/2909827.2930786). Unshifted random filters
    mostly average.
    """
    import keras

    model = new(None)
    # Depthwise convolutions are no Conv2D.
    first = next(item for item in model.layers if isinstance(item, keras.layers.Conv2D))
    for item in model.layers:
        if item is first or isinstance(item, keras.layers.DepthwiseConv2D):
            kernel, *bias = item.get_weights()
            item.set_weights([kernel - kernel.mean(axis=(0, 1), keepdims=True), *bias])
    _standardise(model, preprocess(textures(4, 128, 0)))
    return model


def _standardise(model: Any, pixels: Any) -> None:
    """Give every batch-norm layer the mean and variance of its input on these images.

    Without it, activations fade from layer to layer until half precision cannot hold them. The
    numbers are rounded, so that processors that compute a little differently agree.
    """
    import keras

    norms = [m for m in model.layers if isinstance(m, keras.layers.BatchNormalization)]
    usual = [norm.momentum for norm in norms]
    for norm in norms:
        norm.trainable, norm.momentum = True, 0.0  # takes the batch's numbers as they are
    model(pixels, training=True)
    for norm, momentum in zip(norms, usual, strict=True):
        norm.trainable, norm.momentum = False, momentum
        *learned, mean, variance = norm.get_weights()
        norm.set_weights([*learned, _coarse(mean), _coarse(variance)])


def _coarse(values: np.ndarray) -> np.ndarray:
    """`values` with 8 bits of precision."""
    mantissa, exponent = np.frexp(values)
    return np.asarray(np.ldexp(np.rint(mantissa * 256) / 256, exponent).astype("float32"))


def cached(name: str) -> Path:
    """Where Keras keeps a file of weights, once it has it."""
    home = os.environ.get("KERAS_HOME")
    folder = Path(home) if home else Path.home() / ".keras"
    return folder / "models" / name


def load(path: Path | str, model: Any) -> Any:
    """Give a network the weights that the `backbone` stage wrote to `path`.

    Raises:
        PipelineError: they are those of another network, or of another width, or damaged.
    """
    with reading(path):
        try:
            model.load_weights(path)
        except ValueError as error:
            raise PipelineError(
                f"{path} does not hold weights of {model.name} in the width of backbone.alpha "
                f"({str(error).splitlines()[0]}): run `dvc repro -f backbone`"
            ) from None
    return model
