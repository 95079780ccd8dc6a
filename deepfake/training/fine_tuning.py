"""Phase 2 of training: the network from a layer on, and the head, on the images.

What never changes is computed once: the activations that the first trained layer starts from and
the statistics of frozen layers, where images are at most mirrored; the decoded pixels otherwise.
They are kept as far as a budget goes; what does not fit is computed again each time, which changes
nothing but the time. The batches to come are made ready by threads.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deepfake.common import progress, threads
from deepfake.common.errors import PipelineError
from deepfake.data import shards
from deepfake.data.images import decode
from deepfake.data.records import Records
from deepfake.inference import keras_engine
from deepfake.models.symmetries import seen
from deepfake.params import TrainParams
from deepfake.training.augmentation import Augmentation
from deepfake.training.frozen_prefix import SplitNetwork
from deepfake.training.loop import Phase, Row, State, reseed, run

WINDOW_GROUPS = 32  # row groups of images shuffled together
FLIP = ("original", "mirrored")
BATCHES_AHEAD = 2


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
    precision: str,
    seed: int,
    start_roc_auc: float,
    work: Path,
    on_epoch: Callable[[Row], None],
) -> State:
    """Train `features`, a model by `backbone.features`, from `fine_tune.from_layer` on.

    Batch-norm stays in inference mode. The weights that come in are kept unless an epoch is
    better than their `start_roc_auc` on `valid`.
    """
    import keras

    keras.utils.set_random_seed(seed)
    chosen = params.fine_tune
    variables = trainable_from(features.get_layer("mobilenet_v2"), chosen.from_layer)
    variables += head.trainable_variables
    network = SplitNetwork(
        features,
        chosen.from_layer,
        statistics=statistics,
        image_size=image_size,
        scales=scales,
        fold=precision == "float32",
    )
    compiled = Compiled(network, head, image_size)
    optimizer: Any = adam(chosen.learning_rate)
    if precision == "mixed_float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    optimizer.build(variables)
    step = compiled.step(optimizer, variables, class_weight, params.weight_decay)
    augment = Augmentation(**chosen.augment.model_dump())
    budget = chosen.cache_megabytes * shards.MEGABYTE
    batch_size = chosen.batch_size

    valid_records = Records(work / "valid.records", budget)
    train_records = Records(work / "train.records", budget)
    with valid_records, train_records:
        valid = Split(images, "valid", views, compiled, valid_records, network.has_frozen)
        valid.keep(batch_size)
        train_records.limit -= valid_records.size
        flips = augment.only_flips and network.has_frozen
        shown = FLIP if augment.flip else FLIP[:1]
        train = Split(images, "train", shown, compiled, train_records, flips)
        train.keep(batch_size)

        def run_epoch(epoch: int, rate: float) -> tuple[np.ndarray, np.ndarray]:
            reseed(head, seed, epoch)
            getattr(optimizer, "inner_optimizer", optimizer).learning_rate.assign(rate)
            examples = train.epoch(augment, seed=seed, epoch=epoch)
            title = f"fine-tune epoch {epoch + 1}"
            return train.each(examples, train.count, batch_size, step, title)

        def validate() -> tuple[np.ndarray, np.ndarray]:
            total = valid.count * len(views)
            examples = valid.in_order()
            labels, logits = valid.each(examples, total, batch_size, compiled.score, "validate")
            return labels[:: len(views)], logits.reshape(-1, len(views)).mean(axis=1)

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


def adam(rate: float) -> Any:
    """Keras's Adam, each variable updated in one pass over memory by TensorFlow's own kernel of
    the same formula."""
    import keras
    import tensorflow as tf

    class Adam(keras.optimizers.Adam):  # type: ignore[misc]
        def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
            index = self._get_variable_index(variable)
            done = tf.cast(self.iterations.value + 1, tf.float32)
            tf.raw_ops.ResourceApplyAdam(
                var=variable.handle,  # TensorFlow's variable, not Keras's
                m=self._momentums[index].value.handle,
                v=self._velocities[index].value.handle,
                beta1_power=tf.pow(self.beta_1, done),
                beta2_power=tf.pow(self.beta_2, done),
                lr=learning_rate,
                beta1=self.beta_1,
                beta2=self.beta_2,
                epsilon=self.epsilon,
                grad=gradient,
            )

    return Adam(rate)


class Compiled:
    """The parts of the network, and the head behind them, as TensorFlow functions.

    frozen: float32 pixels (n, image_size, image_size, 3) to a list of tensors of n rows.
    score: such a list, and labels (n,) that it ignores, to logits (n,).
    resize: uint8 pixels (n, height, width, 3) to those that `frozen` takes.
    """

    def __init__(self, network: SplitNetwork, head: Any, image_size: int) -> None:
        import tensorflow as tf

        self._network, self._head = network, head
        self.resize = keras_engine.resizer(image_size)
        pixels = tf.TensorSpec((None, image_size, image_size, 3), tf.float32)
        self.frozen = tf.function(network.frozen, input_signature=[pixels])
        outputs = self.frozen.get_concrete_function().structured_outputs
        self.inputs = [tf.TensorSpec(output.shape, output.dtype) for output in outputs]
        self.signature = [self.inputs, tf.TensorSpec((None,), tf.float32)]
        self.score = tf.function(
            lambda inputs, labels: head(network.trained(inputs), training=False)[:, 0],
            input_signature=self.signature,
        )

    def step(
        self, optimizer: Any, variables: list[Any], class_weight: np.ndarray, weight_decay: float
    ) -> Callable[[list[Any], np.ndarray], Any]:
        """A function (what `frozen` gives, labels (n,) float32) to logits (n,): one step."""
        import tensorflow as tf

        weights = tf.constant(class_weight)
        kernels = [v for v in self._head.trainable_variables if len(v.shape) == 2]
        values = [variable.value for variable in variables]

        @tf.function(input_signature=self.signature)  # type: ignore[untyped-decorator]
        def step(inputs: list[Any], labels: Any) -> Any:
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(values)
                logit = self._head(self._network.trained(inputs), training=True)[:, 0]
                losses = tf.nn.sigmoid_cross_entropy_with_logits(labels, logit)
                loss = tf.reduce_mean(losses * tf.gather(weights, tf.cast(labels, tf.int32)))
                for kernel in kernels:
                    loss += weight_decay * tf.nn.l2_loss(kernel)
                scaled = optimizer.scale_loss(loss)
            optimizer.apply(tape.gradient(scaled, values), variables)
            return logit

        return step  # type: ignore[no-any-return]


@dataclass(frozen=True, slots=True)
class Example:
    """An image in the view of that number; without `pixels`, what the network makes of it is
    kept."""

    number: int
    label: int
    view: int
    pixels: np.ndarray | None


class Split:
    """A split's images, as the trained part of the network takes them.

    Args:
        views: those in which images are shown; an example names one by its number.
        records: where to keep what the frozen part of the network makes of each image in each
            view or, where `activations` is False, the images' pixels.
    """

    def __init__(
        self,
        images: Path | str,
        name: str,
        views: Sequence[str],
        compiled: Compiled,
        records: Records,
        activations: bool,
    ) -> None:
        self._images, self._name, self._views = images, name, views
        self._compiled, self._records, self._activations = compiled, records, activations
        self.count = shards.count(images, name)
        self._labels: list[int] = []
        self._shapes: list[tuple[int, ...]] = []

    @property
    def kept(self) -> int:
        """How many images, the first ones of the split, are kept."""
        return len(self._labels)

    def keep(self, batch_size: int) -> None:
        """Keep as many images as fit; always in the same batches, so that a continued run reads
        what the undisturbed one does."""
        decoded = shards.decoded(shards.image_files(self._images, self._name))
        with progress.bar(self.count, f"keep {self._name}", "images") as shown:
            for batch in shards.batches(decoded, batch_size):
                versions = self._versions([pixels for _, pixels in batch])
                for (image_file, pixels), records in zip(batch, versions, strict=True):
                    if not all(self._records.append(record) for record in records):
                        return
                    self._labels.append(image_file.label)
                    self._shapes.append(pixels.shape)
                shown.update(len(batch))

    def _versions(self, batch: list[np.ndarray]) -> list[list[list[np.ndarray]]]:
        """The records of each image: one a view, or that of its pixels."""
        if not self._activations:
            return [[[pixels]] for pixels in batch]
        resized = keras_engine.resized(batch, self._compiled.resize)
        views = [
            [part.numpy() for part in self._compiled.frozen(seen(resized, view))]
            for view in self._views
        ]
        return [[[part[row] for part in parts] for parts in views] for row in range(len(batch))]

    def epoch(self, augment: Augmentation, *, seed: int, epoch: int) -> Iterator[Example]:
        """Each image once, in this epoch's order, augmented; by threads."""

        def load(item: tuple[int, shards.ImageFile | None]) -> Example:
            number, image_file = item
            generator = np.random.default_rng([seed, 3, epoch, number])
            label, pixels = self._read(number, image_file)
            if self._activations:
                return Example(number, label, int(augment.mirrors(generator)), pixels)
            assert pixels is not None
            return Example(number, label, 0, augment(pixels, generator))

        order = epoch_images(self._images, seed=seed, epoch=epoch, kept=self.kept)
        return threads.ordered(load, order)

    def in_order(self) -> Iterator[Example]:
        """Each image in each view, image by image in the order of the shards; by threads."""

        def load(item: tuple[int, shards.ImageFile | None]) -> list[Example]:
            number, image_file = item
            label, pixels = self._read(number, image_file)
            return [Example(number, label, view, pixels) for view in range(len(self._views))]

        order = images_in_order(self._images, self._name, self.kept)
        return (example for loaded in threads.ordered(load, order) for example in loaded)

    def _read(
        self, number: int, image_file: shards.ImageFile | None
    ) -> tuple[int, np.ndarray | None]:
        """An image's label, and its pixels unless its activations are kept."""
        if image_file is not None:
            return image_file.label, decode(image_file.data)
        if self._activations:
            return self._labels[number], None
        pixels = np.empty(self._shapes[number], np.uint8)
        self._records.read(number, [pixels])
        return self._labels[number], pixels

    def each(
        self,
        examples: Iterator[Example],
        total: int,
        batch_size: int,
        function: Callable[..., Any],
        title: str,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Labels and logits (total,) by `function`, of a batch's inputs and labels, while the next
        batches are made ready."""

        def prepare(batch: list[Example]) -> tuple[list[Any], np.ndarray]:
            return self._inputs(batch), np.array([one.label for one in batch], dtype="float32")

        batches = shards.batches(examples, batch_size)
        labels, logits = [], []
        with progress.bar(total, title, "images") as shown:
            for x, y in threads.ordered(prepare, batches, workers=1, ahead=BATCHES_AHEAD):
                logits.append(function(x, y).numpy())
                labels.append(y)
                shown.update(len(y))
        return np.concatenate(labels), np.concatenate(logits)

    def _inputs(self, batch: list[Example]) -> list[Any]:
        """What the trained part of the network takes, from where it is kept or computed."""
        rows = [row for row, example in enumerate(batch) if example.pixels is not None]
        computed = self._computed([batch[row] for row in rows]) if rows else []
        if len(rows) == len(batch):
            return computed
        inputs = [
            np.empty((len(batch), *spec.shape[1:]), spec.dtype.as_numpy_dtype)
            for spec in self._compiled.inputs
        ]
        for values, part in zip(inputs, computed, strict=False):
            values[rows] = part.numpy()
        for row, example in enumerate(batch):
            if example.pixels is None:
                number = example.number * len(self._views) + example.view
                self._records.read(number, [values[row] for values in inputs])
        return inputs

    def _computed(self, examples: list[Example]) -> list[Any]:
        import tensorflow as tf

        pixels = [example.pixels for example in examples if example.pixels is not None]
        resized = keras_engine.resized(pixels, self._compiled.resize)
        for number, view in enumerate(self._views):
            so_seen = np.array([example.view == number for example in examples])
            if number and so_seen.any():
                resized = tf.where(so_seen[:, None, None, None], seen(resized, view), resized)
        return list(self._compiled.frozen(resized))


def images_in_order(
    images: Path | str, split: str, kept: int
) -> Iterator[tuple[int, shards.ImageFile | None]]:
    """The numbers of a split's images in order, with the images themselves from number `kept`
    on."""
    for group in shards.row_groups(images, split):
        yield from _read_group(group, kept)


def epoch_images(
    images: Path | str, *, seed: int, epoch: int, kept: int = 0
) -> Iterator[tuple[int, shards.ImageFile | None]]:
    """The numbers of the training images in this epoch's order, with the images themselves
    from number `kept` on.

    Row groups are read in random order and shuffled together `WINDOW_GROUPS` at a time.
    """
    generator = np.random.default_rng([seed, 2, epoch])
    groups = shards.row_groups(images, "train")
    order = generator.permutation(len(groups))
    for start in range(0, len(order), WINDOW_GROUPS):
        window = [groups[number] for number in order[start : start + WINDOW_GROUPS]]
        image_files = [item for group in window for item in _read_group(group, kept)]
        for index in generator.permutation(len(image_files)):
            yield image_files[index]


def _read_group(group: shards.RowGroup, kept: int) -> Iterator[tuple[int, shards.ImageFile | None]]:
    end = group.start + group.rows
    if end <= kept:
        yield from ((number, None) for number in range(group.start, end))
        return
    for number, image_file in enumerate(shards.read(group), start=group.start):
        yield number, None if number < kept else image_file
