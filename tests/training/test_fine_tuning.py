"""Fine-tuning: what is cached, and the same losses as Keras's `fit`."""

import io

import numpy as np
import pytest
from PIL import Image

from deepfake import params
from deepfake.data import shards
from deepfake.models import pooling, tensorflow_setup
from deepfake.training import activation_cache, examples, fine_tuning, frozen_prefix, loop
from deepfake.training.augmentation import Augmentation
from tests.support.split_networks import (
    SCALES,
    SIZE,
    STATISTICS,
    new_features,
    new_head,
    split_network,
)

pytestmark = pytest.mark.slow

BATCH = 4
UNCHANGED = Augmentation(
    flip=False, rotation=0.0, shear=0.0, zoom=0.0, shift=0.0, contrast=0.0, jpeg=0.0
)  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def started():
    tensorflow_setup.start(seed=3, precision="float32")


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Shards with 18 and 9 images of noise, some of another size and shape."""
    directory = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(5)
    with shards.ShardWriter(directory, 1) as writer:
        for split, count in (("train", 18), ("valid", 9)):
            for number in range(count):
                shape = (51, 80, 3) if number % 5 == 3 else (70, 70, 3)
                low = rng.integers(0, 256, (10, 10, 3), dtype=np.uint8)
                image_file = Image.fromarray(low).resize((shape[1], shape[0]))
                file = io.BytesIO()
                image_file.save(file, "PNG")
                name = f"{split}{number}"
                data = file.getvalue()
                writer.write(shards.ImageFile(name, int(rng.integers(2)), split, name, data))
    return directory


@pytest.fixture
def train_params():
    settings = params.load().train
    chosen = {"epochs": 3, "patience": 3, "batch_size": BATCH, "learning_rate": 1e-3}
    chosen["from_layer"] = "block_2_expand"
    tuned = settings.fine_tune.model_copy(update=chosen)
    return settings.model_copy(update={"fine_tune": tuned})


def changed(train_params, augment=None, **values):
    tuned = train_params.fine_tune.model_copy(update=values)
    if augment:
        augmented = tuned.augment.model_copy(update=augment)
        tuned = tuned.model_copy(update={"augment": augmented})
    return train_params.model_copy(update={"fine_tune": tuned})


def tuned(
    images,
    train_params,
    work,
    on_epoch=lambda row: None,
    precision="float32",
    cache_megabytes=100,
    views=("original", "mirrored"),
):
    """The rows of the history and the weights after fine-tuning."""
    features = new_features(precision)
    head = new_head(features)
    state = fine_tuning.fine_tune(
        images,
        features,
        head,
        train_params,
        statistics=STATISTICS,
        scales=SCALES,
        image_size=SIZE,
        views=views,
        class_weight=np.array([1.0, 2.0], "f"),
        weight_decay=train_params.penalty,
        precision=precision,
        seed=5,
        start_roc_auc=-1.0,
        work=work,
        cache_megabytes=cache_megabytes,
        on_epoch=on_epoch,
    )
    return state.history, [*features.get_weights(), *head.get_weights()]


@pytest.mark.parametrize(
    ("from_layer", "name", "tolerance"),
    [("all", "SGD", 2e-5), ("block_2_expand", "SGD", 2e-5), ("block_2_expand", "Adam", 1e-3)],
)
def test_losses_are_those_of_fit(images, tmp_path, from_layer, name, tolerance):
    """Adam divides by the gradient's size, which enlarges rounding where that is near zero."""
    import keras

    rate = {"SGD": 1e-2, "Adam": 1e-4}[name]
    order = [
        [number for number, _ in examples.epoch_order(images, seed=5, epoch=epoch)]
        for epoch in range(2)
    ]
    assert order[0] != order[1]
    ours = our_losses(images, tmp_path, from_layer, name, rate)

    features = new_features()
    frozen_prefix.freeze_before(features.get_layer("mobilenet_v2"), from_layer)
    head = new_head(features)
    plain = keras.Model(features.input, head(features(features.input, training=False)))
    plain.compile(
        getattr(keras.optimizers, name)(rate), keras.losses.BinaryCrossentropy(from_logits=True)
    )
    image_files = list(shards.decoded(shards.image_files(images, "train")))
    x = np.concatenate([pooling.resized(pixels[None], SIZE) for _, pixels in image_files])
    y = np.array([[image_file.label] for image_file, _ in image_files], "f")
    theirs = []
    for numbers in order:
        means = []
        each = keras.callbacks.LambdaCallback(
            on_train_batch_end=lambda _, logs, means=means: means.append(logs["loss"])
        )
        plain.fit(
            x[numbers], y[numbers], BATCH, 1, verbose=0, shuffle=False, callbacks=[each]
        )  # fmt: skip
        sizes = [len(numbers[start : start + BATCH]) for start in range(0, len(numbers), BATCH)]
        theirs += np.diff(means * np.cumsum(sizes), prepend=0).tolist()
    assert max(theirs) > 1.05 * min(theirs)
    np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance)


def our_losses(images, work, from_layer, name, rate):
    """The sum of the losses of each batch in two epochs."""
    import keras

    features = new_features()
    head = new_head(features)
    variables = frozen_prefix.freeze_before(features.get_layer("mobilenet_v2"), from_layer)
    variables += head.trainable_variables
    optimizer = getattr(keras.optimizers, name)(rate)
    optimizer.build(variables)
    network = split_network(features, from_layer)
    step = fine_tuning.training_step(network, head, optimizer, variables, np.ones(2, "f"), 0.0)
    layers = activation_cache.FrozenLayers(network.frozen)
    cache = activation_cache.ActivationCache(work / "cache", layers, ["original"], 10**9)
    if network.has_frozen:
        cache.fill(images, "train", BATCH)
        assert len(cache.labels) == 18
    losses = []
    for epoch in range(2):
        shown = examples.train_examples(
            images, UNCHANGED, seed=5, epoch=epoch, cached_labels=cache.labels
        )
        labels, logits = fine_tuning.run_batches(step, cache, shown, BATCH, 18, "test")
        each = np.logaddexp(0, np.where(labels > 0, -1, 1) * logits)
        losses += [each[start : start + BATCH].sum() for start in range(0, len(each), BATCH)]
    return losses


@pytest.mark.parametrize(
    ("case", "views", "some", "all_cached"),
    [
        ({"augment": {"flip": True}}, ["original", "mirrored"], 400_000, [9, 18]),
        ({"augment": {"flip": False, "rotation": 10.0}}, ["rotated_left"], 60_000, [9, 0]),
        ({"augment": {"flip": True}, "from_layer": "all"}, ["original"], 200_000, [0, 0]),
    ],
)
def test_what_is_cached_changes_nothing(
    images, train_params, tmp_path, monkeypatch, case, views, some, all_cached
):
    counts = {"valid": 0, "train": 0}
    fill = activation_cache.ActivationCache.fill

    def counted(cache, images, split, batch_size):
        fill(cache, images, split, batch_size)
        counts[split] = len(cache.labels)

    monkeypatch.setattr(activation_cache.ActivationCache, "fill", counted)
    # A mistake in what is cached shows in the first losses; later, Adam would enlarge rounding.
    chosen = changed(train_params, epochs=2, learning_rate=1e-5, **case)
    histories, cached = [], []
    for megabytes, bytes_each in ((0, 1), (1, some), (1, 10**9)):
        monkeypatch.setattr(shards, "MEGABYTE", bytes_each)
        work = tmp_path / str(bytes_each)
        history, _ = tuned(images, chosen, work, cache_megabytes=megabytes, views=views)
        histories.append([[row["train_loss"], row["valid_loss"]] for row in history])
        cached.append(list(counts.values()))
    assert cached[0] == [0, 0]
    assert (0 < sum(cached[1]) < sum(all_cached)) == any(all_cached)
    assert cached[2] == all_cached
    np.testing.assert_allclose(histories[1], histories[0], rtol=1e-4)
    np.testing.assert_allclose(histories[2], histories[0], rtol=1e-4)


def test_killed_fine_tuning_continues_to_the_same_weights(
    images, train_params, tmp_path, monkeypatch
):
    monkeypatch.setattr(loop, "_CHECKPOINT_SECONDS", 0.0)
    undisturbed = tuned(images, train_params, tmp_path / "one")

    class Killed(Exception):
        pass

    def stop_after_two(row):
        if row["epoch"] == 2:
            raise Killed

    with pytest.raises(Killed):
        tuned(images, train_params, tmp_path / "two", stop_after_two)
    assert (tmp_path / "two" / "fine_tune.npz").exists()
    continued = tuned(images, train_params, tmp_path / "two")
    assert continued[0] == undisturbed[0]
    for one, two in zip(undisturbed[1], continued[1], strict=True):
        np.testing.assert_array_equal(one, two)
    assert any((new != old).any() for new, old in zip(continued[1], start_weights(), strict=True))
    assert [path.name for path in (tmp_path / "two").iterdir()] == ["fine_tune.npz"]


def start_weights():
    features = new_features()
    return [*features.get_weights(), *new_head(features).get_weights()]


def test_sixteen_bits_are_kept_and_trained(images, train_params, tmp_path):
    rows = []
    chosen = changed(train_params, epochs=1)
    tuned(images, chosen, tmp_path / "16", rows.append, "mixed_bfloat16")
    tuned(images, chosen, tmp_path / "32", rows.append)
    assert rows[0]["train_loss"] == pytest.approx(rows[1]["train_loss"], rel=0.05)
    assert rows[0]["train_loss"] != rows[1]["train_loss"]
