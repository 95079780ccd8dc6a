"""The training loop that all phases share: schedule, early stopping, checkpoints.

Every random choice follows from (seed, phase, epoch), so that a continued run ends with the same
weights as one that was not interrupted.
"""

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deepfake.common import progress
from deepfake.common.errors import PipelineError
from deepfake.common.files import reading, replacing
from deepfake.evaluation.ranking import roc_auc

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
_PLATEAU_EPOCHS, _LEAST_GAIN, _LEAST_RATE = 5, 1e-4, 1e-7

Row = dict[str, Any]


def balanced(labels: np.ndarray, class_weight: str) -> np.ndarray:
    """The weight of each class in the loss, (2,) float32: scikit-learn's `balanced`, or ones."""
    counts = np.bincount(labels, minlength=2)
    if class_weight == "none":
        return np.ones(2, dtype="float32")
    return (len(labels) / (2 * np.maximum(counts, 1))).astype("float32")


def scheduled(rate: float, schedule: str, epoch: int, epochs: int) -> float:
    """The learning rate of `epoch` (from 0): constant, or falling along half a cosine to nearly 0
    (Loshchilov and Hutter 2017, arXiv 1608.03983)."""
    if schedule == "constant":
        return rate
    return rate * (1 + math.cos(math.pi * epoch / epochs)) / 2


def plateau(rate: float, losses: Sequence[float]) -> float:
    """The learning rate after these losses on `valid`: a tenth after every 5 epochs in which the
    loss was not lower by 1e-4 than ever before, and at least 1e-7.

    This is what Keras's `ReduceLROnPlateau` does, as a function of the history alone, so that a
    continued run needs no state of it.
    """
    best, waited = math.inf, 0
    for loss in losses:
        waited += 1
        if loss < best - _LEAST_GAIN:
            best, waited = loss, 0
        elif waited == _PLATEAU_EPOCHS:
            rate, waited = max(rate * 0.1, _LEAST_RATE), 0
    return rate


def measured(labels: np.ndarray, logits: np.ndarray) -> tuple[float, float]:
    """Log loss and ROC-AUC of logits (n,).

    Raises:
        PipelineError: a logit is not finite: training diverged.
    """
    if not np.isfinite(logits).all():
        raise PipelineError("training diverged: the loss is no longer finite; lower learning_rate")
    signed = np.where(labels > 0, -1, 1) * logits.astype("float64")
    return float(np.logaddexp(0, signed).mean()), roc_auc(labels, logits)


@dataclass
class Phase:
    """What the loop needs to know of a phase.

    Attributes:
        name: of the phase in the history.
        epochs: at most.
        patience: epochs without a better ROC-AUC on `valid` before the phase stops.
        learning_rate: of the first epoch.
        schedule: `constant`, `cosine` or `plateau`.
        run_epoch: trains the epoch of this number (from 0) at this learning rate; returns log loss
            and ROC-AUC of the examples trained on.
        validate: returns labels and logits of `valid`.
        variables: all that training changes.
        weights: those of them that make the model.
    """

    name: str
    epochs: int
    patience: int
    learning_rate: float
    schedule: str
    run_epoch: Callable[[int, float], tuple[float, float]]
    validate: Callable[[], tuple[np.ndarray, np.ndarray]]
    variables: Sequence[Any]
    weights: Sequence[Any]


@dataclass
class State:
    """Where the loop stands after `len(history)` epochs; `best` holds the weights of
    `best_epoch`, which is 0 for those that the phase began with."""

    history: list[Row]
    best: list[np.ndarray]
    best_roc_auc: float
    best_epoch: int

    def stops_early(self, patience: int) -> bool:
        """Early stopping: the last `patience` epochs brought no better ROC-AUC on `valid`."""
        return len(self.history) - self.best_epoch >= patience


def run(
    phase: Phase, checkpoint: Path, on_epoch: Callable[[Row], None], start_roc_auc: float = -1.0
) -> State:
    """Train a phase until its last epoch or early stopping, then restore its best weights.

    A progress bar shows the epochs, with the values of the last one.

    Args:
        checkpoint: the file that an interrupted run is continued from.
        on_epoch: called with each row of the history, those of the interrupted run included.
        start_roc_auc: ROC-AUC on `valid` of the weights given; they are kept, as epoch 0, unless
            an epoch is better.
    """
    state = State([], [w.numpy() for w in phase.weights], start_roc_auc, 0)
    resumed = _resume(phase, checkpoint) if checkpoint.exists() else None
    if resumed is not None:
        state = resumed
        print(f"{phase.name}: continuing after epoch {len(state.history)}", flush=True)
        for row in state.history:
            on_epoch(row)
    saved = time.monotonic()
    with progress.epochs(phase.epochs, phase.name, start=len(state.history)) as bar:
        while len(state.history) < phase.epochs and not state.stops_early(phase.patience):
            _one_epoch(phase, len(state.history), state)
            on_epoch(state.history[-1])
            bar.set_postfix_str(_values(state.history[-1]), refresh=False)
            bar.update()
            if time.monotonic() - saved > _CHECKPOINT_SECONDS:
                _save(phase, checkpoint, state)
                saved = time.monotonic()
        bar.total = bar.n  # nothing is left after early stopping
    for weight, value in zip(phase.weights, state.best, strict=True):
        weight.assign(value)
    return state


def _one_epoch(phase: Phase, epoch: int, state: State) -> None:
    """Train and validate once; add to the history, and keep the weights if they are the best."""
    if phase.schedule == "plateau":
        rate = plateau(phase.learning_rate, [row["valid_loss"] for row in state.history])
    else:
        rate = scheduled(phase.learning_rate, phase.schedule, epoch, phase.epochs)
    train_loss, train_roc_auc = phase.run_epoch(epoch, rate)
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


def _values(row: Row) -> str:
    return (
        f"train/valid loss {row['train_loss']:.3f}/{row['valid_loss']:.3f}, "
        f"ROC-AUC {row['train_roc_auc']:.3f}/{row['valid_roc_auc']:.3f}"
    )


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


def _resume(phase: Phase, checkpoint: Path) -> State | None:
    """The state that `_save` wrote, with its variables restored; None if the file is damaged.

    A `.npz` file has a checksum of each array, and all are read before one is used.
    """
    try:
        with reading(checkpoint), np.load(checkpoint) as saved:
            values = [saved[f"variable_{index}"] for index in range(len(phase.variables))]
            best = [saved[f"best_{index}"] for index in range(len(phase.weights))]
            facts = json.loads(str(saved["facts"]))
    except PipelineError:
        print(f"{phase.name}: {checkpoint} is damaged; training begins again", flush=True)
        return None
    for variable, value in zip(phase.variables, values, strict=True):
        variable.assign(value)
    return State(facts["history"], best, facts["best_roc_auc"], facts["best_epoch"])


def reseed(network: Any, seed: int, epoch: int) -> None:
    """Give each dropout layer of `network` a random state of its own for this epoch, so that it
    does not depend on what ran before."""
    for number, generator in enumerate(_generators(network)):
        # Keras adds 1 to the second number at each step: others must not be its neighbours.
        state = np.random.SeedSequence([seed, 6, epoch, number]).generate_state(2)
        generator.state.assign(state & 0x7FFFFFFF)


def _generators(network: Any) -> Iterator[Any]:
    """What dropout layers draw from, in the order of the layers."""
    for layer in network.layers:
        if hasattr(layer, "layers"):
            yield from _generators(layer)
        elif hasattr(layer, "seed_generator"):
            yield layer.seed_generator


def kept_phase(summary: Mapping[str, Any]) -> str:
    """The phase whose weights the image model has, by the summary of `train`."""
    if "network" in summary:
        return "network"
    return "fine_tune" if summary["fine_tune"]["kept"] else "head"
