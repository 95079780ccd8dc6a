"""Statistics of the backbone's activations over the positions of an image."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deepfake.common.errors import PipelineError
from deepfake.models import registry
from deepfake.params import BackboneParams, EmbedParams

STD_FLOOR = 1e-12


def saved_features(
    path: Path | str, network: BackboneParams, embed: EmbedParams, precision: str
) -> Any:
    """The `features` that the parameters ask for, of the backbone in `path`."""
    model = registry.load(path, network, precision)
    return features(model, embed.layers, embed.statistics, network.image_size, embed.scales)


def resized(pixels: Any, image_size: int) -> Any:
    """Resize the centre square of images, bilinearly, with antialiasing when shrinking.

    Takes pixels (batch, height, width, 3) of any size and type; returns float32 (batch, image_size,
    image_size, 3) in the same range. `data.images.resized` is the same in Pillow. This is an
    operation and not Keras's `Resizing` layer, which puts later layers in training mode when a
    model is called without `training`.
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
    """Build a Keras model that computes the features of an image.

    It takes float32 pixels (batch, image_size, image_size, 3) in [0, 255] and returns float32
    features (batch, d): one value for each scale, layer, statistic and channel, in this order. For
    a scale, the image is resized to `scale * image_size`. Without `image_size`, images may have
    any size, and there is one scale.

    The statistics are over the image's positions, computed in float32 (global texture statistics,
    in the spirit of Gram-Net, Liu et al. 2020, arXiv 2002.00133). Only what lies before the deepest
    layer named is computed; batch-norm is in inference mode always.

    Raises:
        PipelineError: the network has no layer of that name.
    """
    import keras
    from keras import ops

    pixels = keras.Input((image_size, image_size, 3), dtype="float32", name="resized")
    scaled = registry.preprocessed(pixels, model.name)
    trunk = keras.Model(
        model.input, [model.get_layer(name).output for name in layers], name=model.name
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
    """A statistic of activations (batch, h, w, c), float32 (batch, `width(name, c)`).

    `mean` and `std` are of each channel; `covariance` is the upper triangle, by rows, of the
    channels' covariance matrix.
    """
    from keras import layers, ops

    activations = ops.cast(activations, "float32")
    if name == "mean":
        return ops.mean(activations, axis=(1, 2))
    if name == "std":
        # The root's slope at 0 is infinite, which fine-tuning would meet in dead channels.
        return ops.sqrt(ops.maximum(ops.var(activations, axis=(1, 2)), STD_FLOOR))
    channels = activations.shape[-1]
    centred = activations - ops.mean(activations, axis=(1, 2), keepdims=True)
    rows = layers.Reshape((-1, channels), dtype="float32")(centred)
    # Counted, because the shape may be unknown when the model is built.
    positions = ops.sum(ops.ones_like(rows[..., :1]), axis=1, keepdims=True)
    covariance = ops.matmul(ops.transpose(rows, (0, 2, 1)), rows) / positions
    flat = layers.Reshape((channels * channels,), dtype="float32")(covariance)
    first, second = np.triu_indices(channels)
    return ops.take(flat, first * channels + second, axis=1)


def check_positions(shapes: Mapping[str, tuple[int, int]], image_size: int, pooled: str) -> None:
    """Check that each layer has as many positions as what is taken over them needs.

    Args:
        shapes: positions and channels of each layer.
        image_size: in pixels, at which these are.
        pooled: `covariance`, which has no full rank with fewer positions than channels; `mean_std`,
            whose standard deviation needs two positions; or `average`.

    Raises:
        PipelineError: a layer has fewer.
    """
    for name, (positions, channels) in shapes.items():
        needed = {"covariance": channels, "mean_std": 2, "average": 1}[pooled]
        if positions < needed:
            instead = ", or use embed.pooling: mean_std" if pooled == "covariance" else ""
            raise PipelineError(
                f"embed.pooling: {pooled}: at {image_size} pixels {name} has {positions} "
                f"positions and {channels} channels; it needs {needed} positions or more. "
                "Raise backbone.image_size (or embed.scales), or leave the layer out of "
                f"embed.layers{instead}"
            )


def width(name: str, channels: int) -> int:
    """The number of values of a statistic of so many channels."""
    return channels * (channels + 1) // 2 if name == "covariance" else channels
