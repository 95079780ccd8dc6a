"""Training of the image model in two phases: the head on embeddings, then the network on pictures.

Both phases are one loop: epochs with a learning-rate schedule, stopping early, keeping the
weights that were best on `valid`, and able to continue where a killed run stopped. Every random
choice follows from (seed, phase, epoch), so that a continued run ends with the same weights as
an undisturbed one.
"""

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deepfake import embedding, scores
from deepfake.embedding import Embeddings
from deepfake.errors import PipelineError
from deepfake.files import replacing
from deepfake.head import Adam, Head, Variable, moments, standardisation
from deepfake.params import TrainParams

HISTORY_COLUMNS = (
    "epoch",
    "phase",
    "learning_rate",
    "train_loss",
    "train_roc_auc",
    "valid_loss",
    "valid_roc_auc",
)
_CHECKPOINT_SECONDS = 5.0

Row = dict[str, Any]


def balanced(labels: np.ndarray, class_weight: str) -> np.ndarray:
    """The weight of each class in the loss, (2,) float32, as scikit-learn's `balanced`."""
    counts = np.bincount(labels, minlength=2)
    if class_weight == "none":
        return np.ones(2, dtype="float32")
    return (len(labels) / (2 * np.maximum(counts, 1))).astype("float32")


def scheduled(rate: float, schedule: str, epoch: int, epochs: int) -> float:
    """The learning rate of `epoch` (from 0): constant, or half a cosine down to nearly 0
    (Loshchilov and Hutter 2017, arXiv 1608.03983)."""
    if schedule == "constant":
        return rate
    return rate * (1 + math.cos(math.pi * epoch / epochs)) / 2


def measured(labels: np.ndarray, logits: np.ndarray) -> tuple[float, float]:
    """Log loss and ROC-AUC of logits; raises `PipelineError` where training diverged."""
    if not np.isfinite(logits).all():
        raise PipelineError("training diverged: the loss is no longer finite; lower learning_rate")
    signed = np.where(labels > 0, -1, 1) * logits.astype("float64")
    return float(np.logaddexp(0, signed).mean()), scores.roc_auc(labels, logits)


@dataclass
class Phase:
    """What the loop needs to know of a phase.

    `run_epoch(epoch, rate)` trains and returns (labels, logits) of the epoch's own examples;
    `validate()` returns (labels, logits) of `valid`; `variables` are all that training changes,
    `weights` those of them that make the model.
    """

    name: str
    epochs: int
    patience: int
    learning_rate: float
    schedule: str
    run_epoch: Callable[[int, float], tuple[np.ndarray, np.ndarray]]
    validate: Callable[[], tuple[np.ndarray, np.ndarray]]
    variables: Sequence[Any]
    weights: Sequence[Any]


@dataclass
class State:
    """Where the loop stands after `len(history)` epochs."""

    history: list[Row]
    best: list[np.ndarray]
    best_roc_auc: float
    best_epoch: int


def run(
    phase: Phase, checkpoint: Path, on_epoch: Callable[[Row], None], start_roc_auc: float = -1.0
) -> State:
    """Train a phase and put its best weights in place.

    `start_roc_auc` is what `weights` reach on `valid` as they are: they are kept, as epoch 0,
    unless an epoch does better. `on_epoch` is given each row of the history.
    """
    state = State([], [w.numpy() for w in phase.weights], start_roc_auc, 0)
    if checkpoint.exists():
        state = _resume(phase, checkpoint)
        print(f"{phase.name}: continuing after epoch {len(state.history)}", flush=True)
        for row in state.history:
            on_epoch(row)
    saved = time.monotonic()
    while len(state.history) < phase.epochs:
        epoch = len(state.history)
        if epoch - state.best_epoch >= phase.patience:
            break
        _one_epoch(phase, epoch, state)
        on_epoch(state.history[-1])
        if time.monotonic() - saved > _CHECKPOINT_SECONDS:
            _save(phase, checkpoint, state)
            saved = time.monotonic()
    for weight, value in zip(phase.weights, state.best, strict=True):
        weight.assign(value)
    return state


def _one_epoch(phase: Phase, epoch: int, state: State) -> None:
    rate = scheduled(phase.learning_rate, phase.schedule, epoch, phase.epochs)
    train_loss, train_roc_auc = measured(*phase.run_epoch(epoch, rate))
    valid_loss, valid_roc_auc = measured(*phase.validate())
    state.history.append(
        {
            "epoch": epoch + 1,
            "phase": phase.name,
            "learning_rate": rate,
            "train_loss": train_loss,
            "train_roc_auc": train_roc_auc,
            "valid_loss": valid_loss,
            "valid_roc_auc": valid_roc_auc,
        }
    )
    if valid_roc_auc > state.best_roc_auc:
        state.best = [weight.numpy() for weight in phase.weights]
        state.best_roc_auc, state.best_epoch = valid_roc_auc, epoch + 1


def _save(phase: Phase, checkpoint: Path, state: State) -> None:
    arrays = {f"variable_{i}": v.numpy() for i, v in enumerate(phase.variables)}
    arrays |= {f"best_{i}": value for i, value in enumerate(state.best)}
    facts = {
        "history": state.history,
        "best_roc_auc": state.best_roc_auc,
        "best_epoch": state.best_epoch,
    }
    with replacing(checkpoint) as partial:
        np.savez(partial, facts=np.array(json.dumps(facts)), **arrays)


def _resume(phase: Phase, checkpoint: Path) -> State:
    with np.load(checkpoint) as saved:
        for index, variable in enumerate(phase.variables):
            variable.assign(saved[f"variable_{index}"])
        best = [saved[f"best_{index}"] for index in range(len(phase.weights))]
        facts = json.loads(str(saved["facts"]))
    return State(facts["history"], best, facts["best_roc_auc"], facts["best_epoch"])


def reseed(network: Any, seed: int, epoch: int) -> None:
    """Give every dropout layer the random state of this epoch, whatever ran before."""
    for layer in network._flatten_layers():
        if hasattr(layer, "seed_generator"):
            layer.seed_generator.state.assign([seed & 0x7FFFFFFF, epoch])


def train_head(
    train: Embeddings,
    valid: Embeddings,
    params: TrainParams,
    *,
    seed: int,
    work: Path,
    on_epoch: Callable[[Row], None],
) -> tuple[Head, State]:
    """Phase 1: the head on the embeddings, every view of a picture an example of its own.

    The loss is the log loss plus `weight_decay / 2` times the squared weights. Validation
    averages the logits over the views, as the image model does.
    """
    head = Head.create(
        *standardisation(*moments(train.features)),
        params.hidden,
        np.random.default_rng([seed, 0]),
    )
    optimizer = Adam(head.weights)
    blocks = _Standardised(head, train.features)

    def run_epoch(epoch: int, rate: float) -> tuple[np.ndarray, np.ndarray]:
        generator = np.random.default_rng([seed, 1, epoch])
        return _head_epoch(head, optimizer, blocks, train.labels, params, rate, generator)

    def validate() -> tuple[np.ndarray, np.ndarray]:
        return valid.labels, head.averaged(valid.features)

    weights = [Variable(weight) for weight in head.weights]
    phase = Phase(
        "head",
        params.epochs,
        params.patience,
        params.learning_rate,
        params.schedule,
        run_epoch,
        validate,
        [*weights, *(Variable(array) for array in optimizer.state)],
        weights,
    )
    return head, run(phase, work / "head.npz", on_epoch)


class _Standardised:
    """The blocks of embeddings (n, views, d), each as standardised examples (n * views, d). The one
    read last is kept, which is all there is where a block takes everything."""

    def __init__(self, head: Head, features: np.ndarray | embedding.Rows) -> None:
        self.places = embedding.blocks(features)
        self._head, self._features = head, features
        self._kept: tuple[int, np.ndarray] | None = None

    def __getitem__(self, number: int) -> np.ndarray:
        if self._kept is None or self._kept[0] != number:
            self._kept = None  # before the next one, lest both are in memory
            self._kept = number, self._read(self.places[number])
        return self._kept[1]

    def _read(self, rows: slice) -> np.ndarray:
        views, d = self._features.shape[1:]
        block = np.empty(((rows.stop - rows.start) * views, d), "float32")
        done = 0
        for part in embedding.parts(self._features, rows):
            block[done : done + len(part)] = self._head.standardised(part)
            done += len(part)
        return block


def _head_epoch(
    head: Head,
    optimizer: Adam,
    blocks: _Standardised,
    picture_labels: np.ndarray,
    params: TrainParams,
    rate: float,
    generator: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Train on every example once, a block in memory at a time; the labels and logits seen."""
    class_weights = balanced(picture_labels, params.class_weight)
    labels, logits = [], []
    for number in generator.permutation(len(blocks.places)):
        x = blocks[number]
        y = picture_labels[blocks.places[number]]
        y = np.repeat(y, len(x) // len(y))  # every view has its picture's
        order = generator.permutation(len(y))
        for start in range(0, len(order), params.batch_size):
            rows = order[start : start + params.batch_size]
            logit, gradients = head.gradients(
                x[rows],
                y[rows].astype("float32"),
                class_weights[y[rows]],
                weight_decay=params.weight_decay,
                dropout=params.dropout,
                generator=generator,
            )
            optimizer.apply(gradients, rate)
            labels.append(y[rows])
            logits.append(logit)
    return np.concatenate(labels), np.concatenate(logits)
