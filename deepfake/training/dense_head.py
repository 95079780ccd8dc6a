"""A head with hidden layers: a small Keras model, trained on the rows by Adam."""

from typing import Any

import numpy as np

from deepfake.params import TrainParams
from deepfake.training.loop import balanced, reseed
from deepfake.training.rows import Rows

Layers = tuple[list[np.ndarray], list[np.ndarray]]  # kernels and biases


def build(dimensions: int, params: TrainParams) -> Any:
    """Build the head, from rows (batch, d) to a logit (batch, 1), ready for `train_on_batch`.

    The loss is the weighted log loss plus `weight_decay / 2` times the squared kernels.
    """
    import keras
    from keras import layers

    decay = keras.regularizers.L2((params.penalty or 0.0) / 2)
    rows = keras.Input((dimensions,), dtype="float32")
    x = rows
    for number, units in enumerate(params.hidden, start=1):
        name = f"hidden_{number}"
        x = layers.Dense(units, kernel_regularizer=decay, dtype="float32", name=name)(x)
        if params.batch_norm:
            x = layers.BatchNormalization(dtype="float32", name=f"batch_norm_{number}")(x)
        x = layers.Activation("relu", dtype="float32")(x)
        x = layers.Dropout(params.dropout, dtype="float32")(x)
    # From zeros, every score is 0.5.
    logit = layers.Dense(
        1, kernel_initializer="zeros", kernel_regularizer=decay, dtype="float32", name="logit"
    )(x)
    model = keras.Model(rows, logit)
    model.compile(
        optimizer=keras.optimizers.Adam(params.learning_rate),
        loss=keras.losses.BinaryCrossentropy(from_logits=True),
    )
    model.optimizer.build(model.trainable_variables)
    return model


def run_epoch(
    model: Any, rows: Rows, labels: np.ndarray, params: TrainParams, *, seed: int, epoch: int
) -> tuple[np.ndarray, np.ndarray]:
    """Train on every row once, block by block, in an order that follows from seed and epoch.

    Args:
        labels: of the images, (n,).

    Returns:
        Labels and logits of the rows, after the epoch.
    """
    generator = np.random.default_rng([seed, 1, epoch])
    reseed(model, seed, epoch)
    class_weights = balanced(labels, params.class_weight)
    for number in generator.permutation(len(rows.places)):
        x = rows[number]
        y = labels[rows.places[number]].repeat(rows.views)
        order = generator.permutation(len(y))
        for start in range(0, len(order), params.batch_size):
            chosen = order[start : start + params.batch_size]
            model.train_on_batch(
                x[chosen], y[chosen, None].astype("float32"), class_weights[y[chosen]]
            )
    logits = [np.asarray(model.predict_on_batch(block))[:, 0] for _, block in rows.blocks()]
    return labels.repeat(rows.views), np.concatenate(logits)


def layers_of(model: Any) -> Layers:
    """Kernels and biases of the layers, batch norm included: in inference it is a factor and a
    summand for each unit."""
    kernels, biases = [], []
    dense = [layer for layer in model.layers if layer.name.startswith(("hidden_", "logit"))]
    norms = {layer.name: layer for layer in model.layers if layer.name.startswith("batch_norm_")}
    for layer in dense:
        kernel, bias = layer.get_weights()
        norm = norms.get(layer.name.replace("hidden", "batch_norm"))
        if norm is not None:
            gamma, beta, mean, variance = norm.get_weights()
            factor = gamma / np.sqrt(variance + norm.epsilon)
            kernel, bias = kernel * factor, (bias - mean) * factor + beta
        kernels.append(kernel)
        biases.append(bias)
    return kernels, biases
