"""The image model: one Keras model from uint8 pixels to P(fake).

resize -> scale to [-1, 1] -> backbone -> pooling -> standardisation -> head. It consists of Keras's
own layers and operations, so that `keras.models.load_model` reads it without this project.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deepfake.common.files import reading, replacing
from deepfake.models import keras_archive
from deepfake.models.head import Head
from deepfake.models.pooling import resized
from deepfake.models.symmetries import seen


def keras_head(head: Head, dropout: float) -> Any:
    """Build `head` as a Keras model from float32 features (batch, d) to a logit (batch, 1).

    Args:
        head: its weights.
        dropout: in [0, 1); after each hidden layer, in training.
    """
    import keras

    features = keras.Input((len(head.mean),), dtype="float32", name="features")
    standardise = keras.layers.Normalization(dtype="float32", name="standardise")
    x = standardise(features)
    for index, units in enumerate(head.hidden, start=1):
        x = keras.layers.Dense(units, "relu", dtype="float32", name=f"hidden_{index}")(x)
        x = keras.layers.Dropout(dropout, dtype="float32", name=f"dropout_{index}")(x)
    logit = keras.layers.Dense(1, dtype="float32", kernel_initializer="zeros", name="logit")(x)
    model = keras.Model(features, logit, name="head")
    # As weights, and not in the layer's configuration, so that `keras_archive` can replace them.
    standardise.adapt_mean.assign(head.mean)
    standardise.adapt_variance.assign(head.variance)
    standardise.finalize_state()
    for variable, weight in zip(model.trainable_variables, head.weights, strict=True):
        variable.assign(weight)
    return model


def assemble(features: Any, head: Any, views: Sequence[str], image_size: int) -> Any:
    """Join the backbone and the head into the image model.

    Args:
        features: a Keras model from float32 pixels (batch, image_size, image_size, 3) in [0, 255]
            to features (batch, d); see `pooling.features`.
        head: a Keras model from features to a logit (batch, 1).
        views: the symmetries in which an image is shown.
        image_size: pixels.

    Returns:
        A Keras model from uint8 pixels (batch, height, width, 3) of any size to float32 P(fake)
        (batch, 1), the sigmoid of the mean logit over the views.
    """
    import keras

    square = keras.Input((image_size, image_size, 3), dtype="float32", name="resized")
    logits = [head(features(seen(square, view))) for view in views]
    mean = logits[0]
    for logit in logits[1:]:
        mean = mean + logit
    if len(logits) > 1:
        mean = mean / len(logits)
    score = keras.layers.Activation("sigmoid", dtype="float32", name="score")(mean)
    return of_any_size(keras.Model(square, score, name="classify"))


def classifier(pixels: Any, features: Any) -> Any:
    """End a network in a logit and its sigmoid.

    Args:
        pixels: the input, float32 (batch, image_size, image_size, 3).
        features: Keras tensor (batch, d) that follows from it.

    Returns:
        The Keras model `classify`, from pixels to P(fake) (batch, 1) in float32.
    """
    import keras

    logit = keras.layers.Dense(1, dtype="float32", name="logit")(features)
    score = keras.layers.Activation("sigmoid", dtype="float32", name="score")(logit)
    return keras.Model(pixels, score, name="classify")


def of_any_size(classify: Any) -> Any:
    """The image model: `classify` behind a resize, for uint8 pixels (batch, height, width, 3)."""
    import keras

    pixels = keras.Input((None, None, 3), dtype="uint8", name="pixels")
    score = classify(resized(pixels, classify.input.shape[1]))
    return keras.Model(pixels, score, name="image_model")


def template(features: Any, dimensions: int, views: Sequence[str], image_size: int) -> Any:
    """Build the image model with an untrained linear head, for `keras_archive.write_with_head`."""
    return assemble(features, keras_head(Head.untrained(dimensions), 0.0), views, image_size)


def save(model: Any, path: Path | str) -> None:
    """Save in Keras's `.keras` format, so that the same model gives the same bytes."""
    with replacing(path) as partial:
        model.save(partial)
        keras_archive.write(partial, keras_archive.read(partial))


def load(path: Path | str) -> Any:
    """Load the saved image model, ready to score.

    Raises:
        PipelineError: the file is damaged.
    """
    import keras

    with reading(path):
        return keras.models.load_model(path, compile=False)
