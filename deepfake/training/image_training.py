"""Train a whole network on images with Keras's `fit`, one epoch at a time in the loop that all
phases share."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deepfake.training.augmentation import Augmentation
from deepfake.training.fine_tuning import adam
from deepfake.training.image_batches import ImageStore, batches, training_batches
from deepfake.training.loop import Phase, Row, State, reseed, run


@dataclass(frozen=True)
class Fit:
    """How a phase trains.

    Attributes:
        phase: its name in the history.
        epochs, patience: as in `loop.Phase`.
        learning_rate, schedule: likewise.
        batch_size: images in a step.
        augment: what is done to training images at random.
    """

    phase: str
    epochs: int
    patience: int
    learning_rate: float
    schedule: str
    batch_size: int
    augment: Augmentation | None = None


def fit(
    classify: Any,
    chosen: Fit,
    train: ImageStore,
    valid: ImageStore,
    *,
    class_weight: Sequence[float],
    precision: str,
    seed: int,
    work: Path,
    on_epoch: Callable[[Row], None],
    start_roc_auc: float = -1.0,
) -> State:
    """Train the layers of `classify` that are trainable, in place.

    Args:
        classify: made by `image_model.classifier`.
        class_weight: of real and fake in the loss.
        precision: Keras's name of the policy that `classify` was built under.
        work: folder for the checkpoint.
        on_epoch: called with each row of the history.
        start_roc_auc: ROC-AUC on `valid` of the weights given, which are kept unless an epoch is
            better.

    Raises:
        PipelineError: training diverged.
    """
    import keras

    size = classify.input.shape[1]
    model = keras.Model(classify.input, classify.get_layer("logit").output)
    optimizer = adam(chosen.learning_rate, precision, model.trainable_variables)
    model.compile(
        optimizer,
        keras.losses.BinaryCrossentropy(from_logits=True),
        metrics=[
            keras.metrics.BinaryCrossentropy(name="log_loss", from_logits=True),
            keras.metrics.AUC(name="roc_auc", from_logits=True),
        ],
        auto_scale_loss=False,  # `adam` scales it where that is needed
    )
    order = np.arange(len(valid.labels))
    shown = batches(valid, order, size=size, batch_size=chosen.batch_size)

    def run_epoch(epoch: int, rate: float) -> tuple[float, float]:
        reseed(model, seed, epoch)
        optimizer.learning_rate = rate
        examples = training_batches(
            train, chosen.augment, size=size, batch_size=chosen.batch_size, seed=seed, epoch=epoch
        )
        weights = dict(enumerate(map(float, class_weight)))
        found = model.fit(examples, class_weight=weights, shuffle=False, verbose=0).history
        return found["log_loss"][0], found["roc_auc"][0]

    def validate() -> tuple[np.ndarray, np.ndarray]:
        return valid.labels, model.predict(shown, verbose=0)[:, 0]

    changing = _changing(model)
    phase = Phase(
        name=chosen.phase,
        epochs=chosen.epochs,
        patience=chosen.patience,
        learning_rate=chosen.learning_rate,
        schedule=chosen.schedule,
        run_epoch=run_epoch,
        validate=validate,
        variables=[*changing, *optimizer.variables],
        weights=changing,
    )
    return run(phase, work / f"{chosen.phase}.npz", on_epoch, start_roc_auc)


def _changing(model: Any) -> list[Any]:
    """The weights that training changes: those that are trained, and moments of batch-norm."""
    import keras

    moments = [
        variable
        for layer in model.layers
        if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable
        for variable in layer.non_trainable_variables
    ]
    return [*model.trainable_variables, *moments]
