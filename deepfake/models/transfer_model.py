"""A backbone with average pooling and a dense head, from pixels to P(fake)."""

from typing import Any

from deepfake.models import image_model, registry
from deepfake.params import TransferParams

_SCALINGS: dict[str, dict[str, float]] = {
    "unit": {"scale": 1 / 255},
    "symmetric": {"scale": 1 / 127.5, "offset": -1.0},
}


def build(backbone: Any, chosen: TransferParams) -> Any:
    """Put a head with random weights on a backbone.

    The backbone always runs in inference mode, as Keras's guide to transfer learning advises, so
    that its batch-norm keeps ImageNet's moments. The head computes in float32.

    Args:
        backbone: a Keras model from scaled pixels to activations (batch, h, w, c).
        chosen: input size, scaling and head.

    Returns:
        A Keras model `classify` from float32 pixels (batch, input_size, input_size, 3) in [0, 255]
        to P(fake) (batch, 1).
    """
    import keras

    shared: dict[str, Any] = {"dtype": "float32"}
    pixels = keras.Input((chosen.input_size, chosen.input_size, 3), name="resized", **shared)
    if chosen.scaling == "own":
        scaled = registry.preprocessed(pixels, backbone.name)
    else:
        options = _SCALINGS[chosen.scaling]
        scaled = keras.layers.Rescaling(**options, name="scale", **shared)(pixels)
    x = backbone(scaled, training=False)
    x = keras.layers.GlobalAveragePooling2D(name="pool", **shared)(x)
    if chosen.batch_norm:
        x = keras.layers.BatchNormalization(name="batch_norm", **shared)(x)
    layers = zip(chosen.units, chosen.dropout, strict=True)
    for index, (units, dropout) in enumerate(layers, start=1):
        x = keras.layers.Dense(units, "relu", name=f"hidden_{index}", **shared)(x)
        x = keras.layers.Dropout(dropout, name=f"dropout_{index}", **shared)(x)
    return image_model.classifier(pixels, x)
