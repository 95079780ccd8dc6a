"""The detector as one network from the resized square to its calibrated logit."""

from typing import Any


def detector_network(model: Any) -> Any:
    """The part of an image model that an exported detector computes.

    Args:
        model: the image model, with its temperature; see `models.image_model`.

    Returns:
        A Keras model from float32 pixels (batch, s, s, 3) in [0, 255], the resized centre square of
        an image, to the calibrated logit (batch, 1).
    """
    import keras

    classify = model.get_layer("classify")
    return keras.Model(classify.input, classify.get_layer("score").input, name="detector")
