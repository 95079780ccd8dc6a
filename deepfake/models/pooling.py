"""What is read off the activations of the backbone: statistics over the positions of an image."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deepfake.models.mobilenet_v2 import layer, load
from deepfake.params import BackboneParams, EmbedParams

STD_FLOOR = 1e-12


def saved_features(
    path: Path | str, network: BackboneParams, embed: EmbedParams, precision: str
) -> Any:
    """The `features` that the parameters ask for, of the MobileNetV2 that `load` reads."""
    model = load(path, network.alpha, precision)
    return features(model, embed.layers, embed.statistics, network.image_size, embed.scales)


def resized(pixels: Any, image_size: int) -> Any:
    """Pixels (batch, height, width, 3) of any size and type as float32 (batch, image_size,
    image_size, 3) in the same range.

    Bilinear, with antialiasing where it shrinks; the centre square of an image that is not one.
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
    features (batch, d): for each scale in turn, the image resized to `scale * image_size`; for
    each layer; for each statistic; one value a channel. Without `image_size`, of images of any
    size, in one scale.

    `mean` and `std` are over the image's positions, computed in float32 (global texture
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
