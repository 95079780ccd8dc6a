"""Training of the image model in two phases: the head on embeddings, then the network on pictures.

Both phases are one loop: epochs with a learning-rate schedule, stopping early, keeping the
weights that were best on `valid`, and able to continue where a killed run stopped. Every random
choice follows from (seed, phase, epoch), so that a continued run ends with the same weights as
an undisturbed one.
"""

import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deepfake import dataset, embedding, model, progress, scores
from deepfake.augmentation import Augmentation
from deepfake.embedding import Embeddings
from deepfake.errors import PipelineError
from deepfake.files import replacing
from deepfake.head import Adam, Head, Variable, moments, standardisation
from deepfake.images import decode
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
WINDOW_GROUPS = 32  # row groups of pictures shuffled together
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


def _reseed(network: Any, seed: int, epoch: int) -> None:
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

    def run_epoch(epoch: int, rate: float) -> tuple[np.ndarray, np.ndarray]:
        generator = np.random.default_rng([seed, 1, epoch])
        return _head_epoch(head, optimizer, train, params, rate, generator)

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


def _head_epoch(
    head: Head,
    optimizer: Adam,
    train: Embeddings,
    params: TrainParams,
    rate: float,
    generator: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Train on every example once, a block in memory at a time; the labels and logits seen."""
    class_weights = balanced(train.labels, params.class_weight)
    blocks = embedding.blocks(train.features)
    views, d = train.features.shape[1:]
    labels, logits = [], []
    for number in generator.permutation(len(blocks)):
        x = train.features[blocks[number]].reshape(-1, d)
        y = np.repeat(train.labels[blocks[number]], views)
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


def trainable_from(network: Any, from_layer: str) -> list[Any]:
    """Freeze the layers of MobileNetV2 before `from_layer` (`all`: none); returns the variables
    that are trained.

    Raises:
        PipelineError: the part of the network in use has no such layer.
    """
    import keras

    names = [layer.name for layer in network.layers]
    if from_layer != "all" and from_layer not in names:
        raise PipelineError(
            f"train.fine_tune.from_layer: received {from_layer!r}, which is not among the layers "
            f"in use, {names[1]} to {names[-1]}"
        )
    start = 0 if from_layer == "all" else names.index(from_layer)
    for index, layer in enumerate(network.layers):
        if not isinstance(layer, keras.layers.BatchNormalization):  # frozen from the beginning
            layer.trainable = index >= start
    return list(network.trainable_variables)


def epoch_pictures(
    images: Path | str, *, seed: int, epoch: int
) -> Iterator[tuple[dataset.Picture, np.random.Generator]]:
    """The training pictures in this epoch's order, each with its own random generator.

    Row groups are read in random order and shuffled together `WINDOW_GROUPS` at a time.
    """
    generator = np.random.default_rng([seed, 2, epoch])
    groups = dataset.row_groups(images, "train")
    order = generator.permutation(len(groups))
    for start in range(0, len(order), WINDOW_GROUPS):
        window = [groups[number] for number in order[start : start + WINDOW_GROUPS]]
        pictures = [
            (group.start + offset, picture)
            for group in window
            for offset, picture in enumerate(dataset.read(group))
        ]
        for index in generator.permutation(len(pictures)):
            number, picture = pictures[index]
            yield picture, np.random.default_rng([seed, 3, epoch, number])


def fine_tune(
    images: Path | str,
    backbone_features: Any,
    head: Any,
    params: TrainParams,
    *,
    class_weight: np.ndarray,
    image_size: int,
    views: Sequence[str],
    precision: str,
    seed: int,
    start_roc_auc: float,
    work: Path,
    on_epoch: Callable[[Row], None],
) -> State:
    """Phase 2: `backbone_features` from `fine_tune.from_layer` on, and the head, on the pictures.

    Batch-norm stays in inference mode. The weights that come in are kept unless an epoch is
    better than their `start_roc_auc` on `valid`.
    """
    import keras

    keras.utils.set_random_seed(seed)
    chosen = params.fine_tune
    variables = trainable_from(backbone_features.get_layer("mobilenet_v2"), chosen.from_layer)
    variables += head.trainable_variables
    optimizer: Any = keras.optimizers.Adam(chosen.learning_rate)
    if precision == "mixed_float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    optimizer.build(variables)
    step = compiled_step(
        backbone_features, head, optimizer, variables, class_weight, params.weight_decay, image_size
    )
    augment = Augmentation(**chosen.augment.model_dump())
    resize = embedding.resizer(image_size)
    whole = model.assemble(backbone_features, head, views, image_size)
    total = dataset.count(images, "train")

    def run_epoch(epoch: int, rate: float) -> tuple[np.ndarray, np.ndarray]:
        _reseed(head, seed, epoch)
        _set_rate(optimizer, rate)
        examples = dataset.ordered(
            lambda item: (item[0].label, augment(decode(item[0].data), item[1])),
            epoch_pictures(images, seed=seed, epoch=epoch),
        )
        labels, logits = [], []
        with progress.bar(total, f"fine-tune epoch {epoch + 1}", "pictures") as shown:
            for batch in embedding.batches(examples, chosen.batch_size):
                y = np.array([label for label, _ in batch], dtype="float32")
                x = embedding.resized([pixels for _, pixels in batch], resize)
                logits.append(step(x, y).numpy())
                labels.append(y)
                shown.update(len(batch))
        return np.concatenate(labels), np.concatenate(logits)

    def validate() -> tuple[np.ndarray, np.ndarray]:
        score = model.scorer(whole)
        _, labels, scores = model.score_split(score, images, "valid", chosen.batch_size)
        scores = np.clip(scores.astype("float64"), 1e-12, 1 - 1e-12)
        return labels, np.log(scores) - np.log1p(-scores)

    phase = Phase(
        "fine_tune",
        chosen.epochs,
        chosen.patience,
        chosen.learning_rate,
        params.schedule,
        run_epoch,
        validate,
        [*variables, *optimizer.variables],
        variables,
    )
    return run(phase, work / "fine_tune.npz", on_epoch, start_roc_auc)


def _set_rate(optimizer: Any, rate: float) -> None:
    getattr(optimizer, "inner_optimizer", optimizer).learning_rate.assign(rate)


def compiled_step(
    backbone_features: Any,
    head: Any,
    optimizer: Any,
    variables: list[Any],
    class_weight: np.ndarray,
    weight_decay: float,
    image_size: int,
) -> Any:
    """A function (pixels (n, size, size, 3) float32, labels (n,)) to logits (n,): one step."""
    import tensorflow as tf

    weights = tf.constant(class_weight)
    kernels = [v for v in head.trainable_variables if len(v.shape) == 2]
    signature = [
        tf.TensorSpec((None, image_size, image_size, 3), tf.float32),
        tf.TensorSpec((None,), tf.float32),
    ]

    @tf.function(input_signature=signature)  # type: ignore[untyped-decorator]
    def step(pixels: Any, labels: Any) -> Any:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([v.value for v in variables])
            logit = head(backbone_features(pixels, training=False), training=True)[:, 0]
            losses = tf.nn.sigmoid_cross_entropy_with_logits(labels, logit)
            loss = tf.reduce_mean(losses * tf.gather(weights, tf.cast(labels, tf.int32)))
            for kernel in kernels:
                loss += weight_decay * tf.nn.l2_loss(kernel)
            scaled = optimizer.scale_loss(loss)
        gradients = tape.gradient(scaled, [v.value for v in variables])
        optimizer.apply(gradients, variables)
        return logit

    return step
