"""TODO of training.head_training."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from deepfake.data import embeddings
from deepfake.data.embeddings import Embeddings
from deepfake.models.head import Array, Head, moments, standardisation
from deepfake.params import TrainParams
from deepfake.training.loop import Phase, Row, State, balanced, run

_BETA_1, _BETA_2, _EPSILON = np.float32(0.9), np.float32(0.999), np.float32(1e-7)


def gradients(
    head: Head,
    standardised: Array,
    labels: Array,
    example_weights: Array,
    *,
    weight_decay: float,
    dropout: float,
    generator: np.random.Generator,
) -> tuple[Array, list[Array]]:
    """Logits (n,) of a standardised batch (n, d) in training, and the gradients, as `head.weights`,
    of the mean weighted log loss plus `weight_decay / 2` times the squared kernels."""
    inputs, kept = [standardised], []
    for kernel, bias in zip(head.kernels[:-1], head.biases[:-1], strict=True):
        x = np.maximum(inputs[-1] @ kernel + bias, 0)
        mask = np.float32(1)
        if dropout:
            mask = (generator.random(x.shape) >= dropout) / np.float32(1 - dropout)
            mask = mask.astype("float32")
        kept.append(mask * (x > 0))
        inputs.append(x * mask)
    logits = (inputs[-1] @ head.kernels[-1] + head.biases[-1])[:, 0]
    slope = example_weights * (_sigmoid(logits) - labels) / np.float32(len(labels))
    slope = slope[:, None]
    found: list[Array] = []
    for index in reversed(range(len(head.kernels))):
        decay = np.float32(weight_decay) * head.kernels[index]
        found = [inputs[index].T @ slope + decay, slope.sum(axis=0), *found]
        if index:
            slope = (slope @ head.kernels[index].T) * kept[index - 1]
    return logits, found


def _sigmoid(logits: Array) -> Array:
    return np.asarray((1 + np.tanh(logits / 2)) / 2)


class Adam:
    """Adam (Kingma and Ba 2015, arXiv 1412.6980, algorithm 1 with the rate corrected), with Keras's
    constants; changes `weights` in place."""

    def __init__(self, weights: Sequence[Array]) -> None:
        self.weights = list(weights)
        self.step = np.zeros(1, "float32")
        self.first = [np.zeros_like(weight) for weight in weights]
        self.second = [np.zeros_like(weight) for weight in weights]

    @property
    def state(self) -> list[Array]:
        return [self.step, *self.first, *self.second]

    def apply(self, gradients: Sequence[Array], rate: float) -> None:
        self.step += 1
        step = float(self.step[0])
        rate = rate * np.sqrt(1 - float(_BETA_2) ** step) / (1 - float(_BETA_1) ** step)
        for weight, first, second, gradient in zip(
            self.weights, self.first, self.second, gradients, strict=True
        ):
            first += (gradient - first) * (1 - _BETA_1)
            second += (gradient**2 - second) * (1 - _BETA_2)
            weight -= np.float32(rate) * first / (np.sqrt(second) + _EPSILON)


class Variable:
    """An array as the training loop takes Keras's variables: read with `numpy`, set by `assign`."""

    def __init__(self, array: Array) -> None:
        self._array = array

    def numpy(self) -> Array:
        return self._array.copy()

    def assign(self, value: Array) -> None:
        self._array[...] = value


def train_head(
    train: Embeddings,
    valid: Embeddings,
    params: TrainParams,
    *,
    seed: int,
    work: Path,
    on_epoch: Callable[[Row], None],
) -> tuple[Head, State]:
    """Phase 1: the head on the embeddings, every view of an image an example of its own.

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

    def __init__(self, head: Head, features: np.ndarray | embeddings.Rows) -> None:
        self.places = embeddings.blocks(features)
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
        for part in embeddings.parts(self._features, rows):
            block[done : done + len(part)] = self._head.standardised(part)
            done += len(part)
        return block


def _head_epoch(
    head: Head,
    optimizer: Adam,
    blocks: _Standardised,
    image_labels: np.ndarray,
    params: TrainParams,
    rate: float,
    generator: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Train on every example once, a block in memory at a time; the labels and logits seen."""
    class_weights = balanced(image_labels, params.class_weight)
    labels, logits = [], []
    for number in generator.permutation(len(blocks.places)):
        x = blocks[number]
        y = image_labels[blocks.places[number]]
        y = np.repeat(y, len(x) // len(y))  # every view has its image's
        order = generator.permutation(len(y))
        for start in range(0, len(order), params.batch_size):
            rows = order[start : start + params.batch_size]
            logit, slopes = gradients(
                head,
                x[rows],
                y[rows].astype("float32"),
                class_weights[y[rows]],
                weight_decay=params.weight_decay,
                dropout=params.dropout,
                generator=generator,
            )
            optimizer.apply(slopes, rate)
            labels.append(y[rows])
            logits.append(logit)
    return np.concatenate(labels), np.concatenate(logits)
