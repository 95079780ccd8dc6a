"""Phase 1 of training: the head on the embeddings, in NumPy.

The head is so small that starting TensorFlow would take longer than the whole training.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from deepfake.data import embeddings
from deepfake.data.array_file import ArrayFile
from deepfake.data.embeddings import Embeddings
from deepfake.models.head import Array, Head, moments, standardisation
from deepfake.params import TrainParams
from deepfake.training.loop import Phase, Row, State, balanced, measured, run

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
    """One forward and backward pass.

    The loss is the mean weighted log loss plus `weight_decay / 2` times the squared kernels.

    Args:
        standardised: features (n, d), as `head.standardised` returns them.
        labels: (n,) float32, 1 for fake.
        example_weights: (n,) float32.
        dropout: the share of hidden activations left out, those that `generator` draws.

    Returns:
        Logits (n,) of this pass, and the gradients in the order of `head.weights`.
    """
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
    """Adam (Kingma and Ba 2015, arXiv 1412.6980: algorithm 1 in the efficient order of section 2),
    with Keras's constants; changes `weights` in place."""

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
    """An array with the two methods of a Keras variable that the training loop uses."""

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
    """Train a new head on embeddings; every view of an image is an example of its own.

    Validation averages the logits over the views, as the image model does.

    Args:
        work: folder for the checkpoint.
        on_epoch: called with each row of the history.

    Raises:
        PipelineError: training diverged.
    """
    head = Head.create(
        *standardisation(*moments(train.features)),
        params.hidden,
        np.random.default_rng([seed, 0]),
    )
    optimizer = Adam(head.weights)
    blocks = StandardisedBlocks(head, train.features)

    def run_epoch(epoch: int, rate: float) -> tuple[float, float]:
        generator = np.random.default_rng([seed, 1, epoch])
        return measured(
            *_head_epoch(head, optimizer, blocks, train.labels, params, rate, generator)
        )

    def validate() -> tuple[np.ndarray, np.ndarray]:
        return valid.labels, head.averaged(valid.features)

    weights = [Variable(weight) for weight in head.weights]
    phase = Phase(
        name="head",
        epochs=params.epochs,
        patience=params.patience,
        learning_rate=params.learning_rate,
        schedule=params.schedule,
        run_epoch=run_epoch,
        validate=validate,
        variables=[*weights, *(Variable(array) for array in optimizer.state)],
        weights=weights,
    )
    return head, run(phase, work / "head.npz", on_epoch)


class StandardisedBlocks:
    """Embeddings (n, views, d) a block of images at a time, as standardised examples
    (images * views, d).

    The last block read stays in memory; small embeddings are a single block, read once.

    Attributes:
        places: the images of each block.
    """

    def __init__(self, head: Head, features: np.ndarray | ArrayFile) -> None:
        self.places = embeddings.blocks(features)
        self._head, self._features = head, features
        self._kept: tuple[int, np.ndarray] | None = None

    def __getitem__(self, number: int) -> np.ndarray:
        if self._kept is None or self._kept[0] != number:
            self._kept = None  # frees it before the next one is read
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
    blocks: StandardisedBlocks,
    image_labels: np.ndarray,
    params: TrainParams,
    rate: float,
    generator: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Train on every example once, block by block; returns their labels and logits."""
    class_weights = balanced(image_labels, params.class_weight)
    labels, logits = [], []
    for number in generator.permutation(len(blocks.places)):
        x = blocks[number]
        y = image_labels[blocks.places[number]]
        y = np.repeat(y, len(x) // len(y))  # every view has its image's label
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
