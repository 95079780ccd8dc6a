"""Phase 1 of training: the head on the embeddings. Every view of an image is a row of its own."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from deepfake.data.embeddings import Embeddings
from deepfake.models import image_model, whitening
from deepfake.models.head import Head
from deepfake.models.whitening import Whitener
from deepfake.params import TrainParams
from deepfake.training import convex_head, dense_head
from deepfake.training.loop import Phase, Row, State, balanced, measured, run
from deepfake.training.penalty import cross_validated
from deepfake.training.rows import Rows, Scaling


@dataclass(frozen=True)
class Trained:
    """A trained head.

    Attributes:
        scaling: what makes rows of raw features.
        kernels, biases: of the layers that score rows, (inputs, units) and (units,).
        state: the history, and the best ROC-AUC on `valid`.
        weight_decay: the penalty used.
        penalties: the table of `penalty.cross_validated`; None if the penalty was given.
    """

    scaling: Scaling
    kernels: list[np.ndarray]
    biases: list[np.ndarray]
    state: State
    weight_decay: float
    penalties: pd.DataFrame | None

    @property
    def head(self) -> Head:
        """The head that scores raw features."""
        return self.scaling.head(self.kernels, self.biases)

    def as_keras(self, dropout: float) -> Any:
        """The head as a Keras model from raw features (batch, d) to a logit (batch, 1).

        Its weights are those that score rows, so that steps of fine-tuning are taken in whitened
        coordinates; whitening and standardisation stay as they are.
        """
        import keras

        rows = Head(
            self.scaling.mean.astype("float32"),
            (self.scaling.std**2).astype("float32"),
            [np.asarray(kernel, "float32") for kernel in self.kernels],
            [np.asarray(bias, "float32") for bias in self.biases],
        )
        raw = keras.Input((len(rows.mean),), dtype="float32")
        whitened = whitening.as_keras(self.scaling.whitener, len(rows.mean))(raw)
        return keras.Model(raw, image_model.keras_head(rows, dropout)(whitened))

    def with_weights(self, model: Any) -> "Trained":
        """The same with the kernels and biases of `model`, which `as_keras` made."""
        weights = [np.asarray(variable) for variable in model.trainable_variables]
        return replace(self, kernels=weights[::2], biases=weights[1::2])


def train_head(
    train: Embeddings,
    valid: Embeddings,
    params: TrainParams,
    *,
    channels: Sequence[int],
    seed: int,
    work: Path,
    on_epoch: Callable[[Row], None],
) -> Trained:
    """Train a new head on embeddings.

    Validation averages the logits over the views, as the image model does.

    Args:
        channels: of each block of covariance features; none: the features are not whitened.
        work: folder for the rows, and for the checkpoint of a head with hidden layers.
        on_epoch: called with each row of the history.

    Raises:
        PipelineError: training diverged, or there is no optimum.
    """
    whitener = Whitener.fit(train.features, channels) if channels else Whitener()
    scaling = Scaling.fit(train.features, whitener)
    file = work / "rows.f32"
    try:
        rows = Rows(scaling, train.features, file)
        task = _Task(rows, scaling, train.labels, valid, params, seed, on_epoch)
        return _solve(task) if params.linear else _train(task, work / "head.npz")
    finally:
        file.unlink(missing_ok=True)  # it is large, and a resumed run writes it again


@dataclass(frozen=True)
class _Task:
    """What a head learns from, and how.

    Attributes:
        rows: of `train`, those of an image one after the other.
        labels: of the images of `train`.
    """

    rows: Rows
    scaling: Scaling
    labels: np.ndarray
    valid: Embeddings
    params: TrainParams
    seed: int
    on_epoch: Callable[[Row], None]


def _solve(task: _Task) -> Trained:
    """Solve a linear head; the history has iterations 1, 2, 4, 8, … and the last."""
    weights = balanced(task.labels, task.params.class_weight)[task.labels].astype("float64")
    penalty, penalties = task.params.penalty, None
    if penalty is None:
        views = task.valid.features.shape[1]
        penalty, penalties = cross_validated(
            task.rows, task.labels, weights, task.seed, scored=views
        )
    of_rows = task.labels.repeat(task.rows.views)
    iterations, history = 0, list[Row]()

    def log(solution: np.ndarray) -> None:
        row = _measured(task, of_rows, solution)
        history.append({"epoch": iterations, "phase": "head", "learning_rate": None, **row})
        task.on_epoch(history[-1])

    def on_iteration(solution: np.ndarray) -> None:
        nonlocal iterations
        iterations += 1
        if iterations & (iterations - 1) == 0:  # a power of 2
            log(solution)

    solution = convex_head.solve(
        task.rows, of_rows, weights.repeat(task.rows.views), penalty, on_iteration=on_iteration
    )
    if not history or history[-1]["epoch"] != iterations:
        log(solution)
    state = State(history, [], history[-1]["valid_roc_auc"], iterations)
    return Trained(task.scaling, *_layers(solution), state, penalty, penalties)


def _layers(solution: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
    return [solution[:-1, None]], [solution[-1:]]


def _measured(task: _Task, of_rows: np.ndarray, solution: np.ndarray) -> Row:
    """Log loss and ROC-AUC of a linear head on both splits; `of_rows` are the rows' labels."""
    train_loss, train_roc_auc = measured(of_rows, convex_head.logits(task.rows, solution))
    averaged = task.scaling.head(*_layers(solution)).averaged(task.valid.features)
    valid_loss, valid_roc_auc = measured(task.valid.labels, averaged)
    return {
        "train_loss": train_loss,
        "train_roc_auc": train_roc_auc,
        "valid_loss": valid_loss,
        "valid_roc_auc": valid_roc_auc,
    }


def _train(task: _Task, checkpoint: Path) -> Trained:
    """Train a head with hidden layers, until its last epoch or early stopping."""
    import keras

    params, seed, scaling = task.params, task.seed, task.scaling
    keras.utils.set_random_seed(seed)
    model = dense_head.build(task.rows.shape[1], params)

    def run_epoch(epoch: int, rate: float) -> tuple[float, float]:
        model.optimizer.learning_rate = rate
        return measured(
            *dense_head.run_epoch(model, task.rows, task.labels, params, seed=seed, epoch=epoch)
        )

    def validate() -> tuple[np.ndarray, np.ndarray]:
        head = scaling.head(*dense_head.layers_of(model))
        return task.valid.labels, head.averaged(task.valid.features)

    weights = [v for v in model.variables if "seed_generator" not in v.path]
    phase = Phase(
        name="head",
        epochs=params.epochs,
        patience=params.patience,
        learning_rate=params.learning_rate,
        schedule=params.schedule,
        run_epoch=run_epoch,
        validate=validate,
        variables=[*weights, *model.optimizer.variables],
        weights=weights,
    )
    state = run(phase, checkpoint, task.on_epoch)
    return Trained(scaling, *dense_head.layers_of(model), state, params.penalty or 0.0, None)
