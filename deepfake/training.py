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
from sklearn.metrics import log_loss, roc_auc_score

from deepfake import embedding, model
from deepfake.embedding import Embeddings
from deepfake.errors import PipelineError
from deepfake.files import replacing
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
    scores = 1 / (1 + np.exp(-logits.astype("float64")))
    return float(log_loss(labels, scores, labels=[0, 1])), float(roc_auc_score(labels, scores))


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


def moments(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation (d,) over pictures and views of (n, views, d)."""
    count, total, squares = 0, 0.0, 0.0
    shift = np.asarray(features[0, 0], dtype="float64")  # against cancellation in the squares
    for block in embedding.blocks(features):
        values = features[block].reshape(-1, features.shape[-1]).astype("float64") - shift
        count += len(values)
        total = total + values.sum(axis=0)
        squares = squares + (values**2).sum(axis=0)
    mean = total / count
    return mean + shift, np.sqrt(np.maximum(squares / count - mean**2, 0))


def train_head(
    train: Embeddings,
    valid: Embeddings,
    params: TrainParams,
    *,
    seed: int,
    work: Path,
    on_epoch: Callable[[Row], None],
) -> tuple[Any, State]:
    """Phase 1: the head on the embeddings, every view of a picture an example of its own.

    The loss is the log loss plus `weight_decay / 2` times the squared weights. Validation
    averages the logits over the views, as the image model does.
    """
    import keras

    keras.utils.set_random_seed(seed)
    head = model.head(
        *model.standardisation(*moments(train.features)), params.hidden, params.dropout
    )
    optimizer = keras.optimizers.Adam(params.learning_rate)
    optimizer.build(head.trainable_variables)
    weights = balanced(train.labels, params.class_weight)
    views = train.features.shape[1]
    train_block = _compiled_block(head, optimizer, params, weights)
    blocks = embedding.blocks(train.features)
    kept: dict[int, np.ndarray] = {}

    def run_epoch(epoch: int, rate: float) -> tuple[np.ndarray, np.ndarray]:
        reseed(head, seed, epoch)
        optimizer.learning_rate.assign(rate)
        generator = np.random.default_rng([seed, 1, epoch])
        labels, logits = [], []
        for number in generator.permutation(len(blocks)):
            block = blocks[number]
            x = kept.get(number)
            if x is None:
                x = np.ascontiguousarray(train.features[block].reshape(-1, train.features.shape[2]))
                if len(blocks) == 1:
                    kept[number] = x
            y = np.repeat(train.labels[block], views).astype("float32")
            order = generator.permutation(len(y)).astype("int32")
            logits.append(train_block(x, y, order).numpy())
            labels.append(y[order])
        return np.concatenate(labels), np.concatenate(logits)

    def validate() -> tuple[np.ndarray, np.ndarray]:
        return valid.labels, model.head_logits(head, valid.features)

    phase = Phase(
        "head",
        params.epochs,
        params.patience,
        params.learning_rate,
        params.schedule,
        run_epoch,
        validate,
        [*head.trainable_variables, *optimizer.variables],
        head.trainable_variables,
    )
    return head, run(phase, work / "head.npz", on_epoch)


def _compiled_block(head: Any, optimizer: Any, params: TrainParams, weights: np.ndarray) -> Any:
    """A function (x (n, d), y (n,), order (n,)) to the logits (n,) that the examples got, in that
    order: all batches of a block in one call of compiled code."""
    import tensorflow as tf

    kernels = [v for v in head.trainable_variables if len(v.shape) == 2]
    class_weight = tf.constant(weights)

    @tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator]
    def block(x: Any, y: Any, order: Any) -> Any:
        count = tf.shape(order)[0]
        steps = (count + params.batch_size - 1) // params.batch_size
        logits = tf.TensorArray(tf.float32, steps, infer_shape=False)
        for step in tf.range(steps):
            rows = order[step * params.batch_size : (step + 1) * params.batch_size]
            labels = tf.gather(y, rows)
            with tf.GradientTape() as tape:
                logit = head(tf.gather(x, rows), training=True)[:, 0]
                losses = tf.nn.sigmoid_cross_entropy_with_logits(labels, logit)
                loss = tf.reduce_mean(losses * tf.gather(class_weight, tf.cast(labels, tf.int32)))
                for kernel in kernels:
                    loss += params.weight_decay * tf.nn.l2_loss(kernel)
            gradients = tape.gradient(loss, head.trainable_variables)
            optimizer.apply(gradients, head.trainable_variables)
            logits = logits.write(step, logit)
        return logits.concat()

    return block
