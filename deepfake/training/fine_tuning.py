"""Phase 2 of training: the head and the network's layers from `from_layer` on, on images.

If images are at most mirrored, the activations of the frozen layers never change. They are then
computed once and cached up to a limit (`activation_cache`). The rest is computed again in each
epoch, which changes the time but not the result.
"""

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from deepfake.common import progress, threads
from deepfake.data import shards
from deepfake.params import TrainParams
from deepfake.training import frozen_prefix
from deepfake.training.activation_cache import ActivationCache, FrozenLayers
from deepfake.training.augmentation import Augmentation
from deepfake.training.examples import FLIP_VIEWS, Example, train_examples, valid_examples
from deepfake.training.frozen_prefix import SplitNetwork
from deepfake.training.loop import Phase, Row, State, measured, reseed, run

BATCHES_AHEAD = 2

# Maps the inputs of the trained layers and labels (n,) float32 to logits (n,).
Step = Callable[[list[Any], np.ndarray], Any]


def fine_tune(
    images: Path | str,
    features: Any,
    head: Any,
    params: TrainParams,
    *,
    statistics: Sequence[str],
    scales: Sequence[float],
    image_size: int,
    views: Sequence[str],
    class_weight: np.ndarray,
    weight_decay: float,
    precision: str,
    seed: int,
    start_roc_auc: float,
    work: Path,
    cache_megabytes: int,
    on_epoch: Callable[[Row], None],
) -> State:
    """Train `features` from `params.fine_tune.from_layer` on, and `head`, in place.

    Batch-norm stays in inference mode. The weights given are kept unless an epoch reaches a better
    ROC-AUC on `valid` than `start_roc_auc`.

    Args:
        images: the folder of shards.
        features: made by `pooling.features` with these `statistics`, `scales` and `image_size`.
        head: a Keras model of `features` to a logit (batch, 1); see `head_training.Trained`.
        views: validation averages the logits over these.
        class_weight: of real and fake in the loss, (2,) float32.
        weight_decay: L2 penalty on the kernels of the head.
        precision: Keras's name of the policy that `features` was built under.
        work: folder for the checkpoint and the cache.
        cache_megabytes: disk space for cached activations, both splits together.
        on_epoch: called with each row of the history.

    Raises:
        PipelineError: the network has no layer `from_layer`, or training diverged.
    """
    import keras

    keras.utils.set_random_seed(seed)
    chosen = params.fine_tune
    variables = frozen_prefix.freeze_before(features.get_layer("mobilenet_v2"), chosen.from_layer)
    variables += head.trainable_variables
    network = frozen_prefix.split(
        features, chosen.from_layer, statistics=statistics, image_size=image_size, scales=scales
    )
    optimizer = adam(chosen.learning_rate, precision, variables)
    step = training_step(network, head, optimizer, variables, class_weight, weight_decay)
    score = scorer(network, head)
    augment = Augmentation(**chosen.augment.model_dump())
    shown = {"valid": views, "train": FLIP_VIEWS if augment.flip else FLIP_VIEWS[:1]}
    cached = [split for split in shown if split == "valid" or augment.only_flips]
    limit = cache_megabytes * shards.MEGABYTE if network.has_frozen else 0

    with _caches(images, network, shown, cached, work, limit, chosen.batch_size) as caches:
        epochs = _Epochs(images, caches, augment, views, chosen.batch_size, seed)
        phase = Phase(
            name="fine_tune",
            epochs=chosen.epochs,
            patience=chosen.patience,
            learning_rate=chosen.learning_rate,
            schedule=params.schedule,
            run_epoch=partial(epochs.train, step, head, optimizer),
            validate=partial(epochs.validate, score),
            variables=[*variables, *optimizer.variables],
            weights=variables,
        )
        return run(phase, work / "fine_tune.npz", on_epoch, start_roc_auc)


@dataclass(frozen=True)
class _Epochs:
    """The images of an epoch, and how they are shown.

    Attributes:
        images: the folder of shards.
        caches: of the activations of each split.
        augment: how images of `train` are altered.
        views: of the images of `valid`.
        batch_size: images per step.
        seed: of the order and of what is altered.
    """

    images: Path | str
    caches: Mapping[str, ActivationCache]
    augment: Augmentation
    views: Sequence[str]
    batch_size: int
    seed: int

    def train(
        self, step: Step, head: Any, optimizer: Any, epoch: int, rate: float
    ) -> tuple[float, float]:
        """Train for one epoch; returns log loss and ROC-AUC on what was shown."""
        reseed(head, self.seed, epoch)
        optimizer.learning_rate = rate
        cache = self.caches["train"]
        examples = train_examples(
            self.images, self.augment, seed=self.seed, epoch=epoch, cached_labels=cache.labels
        )
        total, title = shards.count(self.images, "train"), f"epoch {epoch + 1}"
        return measured(*run_batches(step, cache, examples, self.batch_size, total, title))

    def validate(self, score: Step) -> tuple[np.ndarray, np.ndarray]:
        """Labels and logits of the images of `valid`, (n,) each, averaged over the views."""
        cache, count = self.caches["valid"], len(self.views)
        examples = valid_examples(self.images, self.views, cache.labels)
        total = shards.count(self.images, "valid") * count
        labels, logits = run_batches(score, cache, examples, self.batch_size, total, "validate")
        return labels[::count], logits.reshape(-1, count).mean(axis=1)


@contextmanager
def _caches(
    images: Path | str,
    network: SplitNetwork,
    views: Mapping[str, Sequence[str]],
    cached: Sequence[str],
    work: Path,
    limit: int,
    batch_size: int,
) -> Iterator[dict[str, ActivationCache]]:
    """A cache for each split in `views`, those in `cached` filled in that order while they fit
    into `limit` bytes together; the files are deleted at the end."""
    folder = work / "activations"
    shutil.rmtree(folder, ignore_errors=True)  # left by a killed run
    layers = FrozenLayers(network.frozen)
    caches: dict[str, ActivationCache] = {}
    try:
        for split, shown in views.items():
            left = limit - sum(cache.size for cache in caches.values())
            caches[split] = ActivationCache(folder / split, layers, shown, left)
            if split in cached:
                caches[split].fill(images, split, batch_size)
        yield caches
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def adam(rate: float, precision: str, variables: Sequence[Any]) -> Any:
    """Keras's Adam for these variables; under `mixed_float16` the loss is scaled."""
    import keras

    optimizer = keras.optimizers.Adam(rate)
    if precision == "mixed_float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    optimizer.build(variables)
    return optimizer


def training_step(
    network: SplitNetwork,
    head: Any,
    optimizer: Any,
    variables: Sequence[Any],
    class_weight: np.ndarray,
    weight_decay: float,
) -> Step:
    """A compiled function that takes one step and returns the logits before it.

    The loss is the weighted log loss plus `weight_decay / 2` times the head's squared kernels.
    """
    import tensorflow as tf

    weights = tf.constant(class_weight)
    kernels = [v for v in head.trainable_variables if len(v.shape) == 2]
    values = [variable.value for variable in variables]

    @tf.function(input_signature=_signature(network))  # type: ignore[untyped-decorator]
    def step(activations: list[Any], labels: Any) -> Any:
        with tf.GradientTape() as tape:
            features = network.trained(activations, training=False)
            logits = head(features, training=True)[:, 0]
            losses = tf.nn.sigmoid_cross_entropy_with_logits(labels, logits)
            loss = tf.reduce_mean(losses * tf.gather(weights, tf.cast(labels, tf.int32)))
            for kernel in kernels:
                loss += weight_decay * tf.nn.l2_loss(kernel)
            scaled = optimizer.scale_loss(loss)
        optimizer.apply(tape.gradient(scaled, values), variables)
        return logits

    return step  # type: ignore[no-any-return]


def scorer(network: SplitNetwork, head: Any) -> Step:
    """A compiled function that returns logits, and ignores the labels."""
    import tensorflow as tf

    @tf.function(input_signature=_signature(network))  # type: ignore[untyped-decorator]
    def score(activations: list[Any], labels: Any) -> Any:
        return head(network.trained(activations, training=False), training=False)[:, 0]

    return score  # type: ignore[no-any-return]


def _signature(network: SplitNetwork) -> list[Any]:
    import tensorflow as tf

    inputs = [tf.TensorSpec(tensor.shape, tensor.dtype) for tensor in network.trained.inputs]
    return [inputs, tf.TensorSpec((None,), tf.float32)]


def run_batches(
    function: Step,
    cache: ActivationCache,
    examples: Iterable[Example],
    batch_size: int,
    total: int,
    title: str,
) -> tuple[np.ndarray, np.ndarray]:
    """Call `function` on each batch, while a thread makes the next ones ready.

    Returns:
        Labels (total,) and logits (total,).
    """

    def prepare(batch: list[Example]) -> tuple[list[Any], np.ndarray]:
        labels = np.array([example.label for example in batch], "float32")
        return cache.activations(batch), labels

    batches = threads.ordered(
        prepare, shards.batches(examples, batch_size), workers=1, ahead=BATCHES_AHEAD
    )
    labels, logits = [], []
    with progress.bar(total, title, "images", brief=True) as bar:
        for activations, y in batches:
            logits.append(function(activations, y).numpy())
            labels.append(y)
            bar.update(len(y))
    return np.concatenate(labels), np.concatenate(logits)
