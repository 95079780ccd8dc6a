"""Fine-tuning: the network in two parts, what is kept, and the same losses as Keras's `fit`."""

import io

import numpy as np
import pytest
from PIL import Image

from deepfake import params
from deepfake.common.errors import PipelineError
from deepfake.data import records, shards
from deepfake.models import image_model, mobilenet_v2, pooling, tensorflow_setup
from deepfake.models.head import Head
from deepfake.training import fine_tuning, loop
from deepfake.training.augmentation import Augmentation
from deepfake.training.frozen_prefix import SplitNetwork

pytestmark = pytest.mark.slow

SIZE, BATCH = 64, 4
LAYERS = ["block_1_expand_relu", "block_4_expand_relu", "block_5_project"]
STATISTICS, SCALES = ["mean", "std"], [1.0, 0.5]
UNCHANGED = Augmentation(
    flip=False, rotation=0.0, zoom=0.0, shift=0.0, contrast=0.0, jpeg=0.0
)  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def started():
    tensorflow_setup.start(seed=3, precision="float32")


def new_features(precision="float32"):
    """Always the same random weights."""
    import keras

    keras.utils.set_random_seed(3)
    network = mobilenet_v2.mobilenet(0.35, None, precision)
    rng = np.random.default_rng(7)
    for item in network.layers:
        if isinstance(item, keras.layers.BatchNormalization):
            gamma, beta, mean, variance = item.get_weights()
            drawn = rng.normal(size=(2, len(mean))) * 0.1
            item.set_weights([gamma * 1.5, beta + drawn[0], mean + drawn[1], variance * 0.5])
    return pooling.features(network, LAYERS, STATISTICS, SIZE, SCALES)


def new_head(features):
    dimensions = features.output_shape[-1]
    head = image_model.keras_head(Head.untrained(dimensions), 0.0)
    weights = np.random.default_rng(0).normal(size=(dimensions, 1)) * 0.1
    head.get_layer("logit").set_weights([weights, np.array([0.1])])
    return head


def split_network(features, from_layer, fold=True):
    return SplitNetwork(
        features, from_layer, statistics=STATISTICS, image_size=SIZE, scales=SCALES, fold=fold
    )


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


def tuned(images, train_params, work, on_epoch=lambda row: None, precision="float32"):
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
        views=["original", "mirrored"],
        class_weight=np.array([1.0, 2.0], "f"),
        precision=precision,
        seed=5,
        start_roc_auc=-1.0,
        work=work,
        on_epoch=on_epoch,
    )
    return state.history, [*features.get_weights(), *head.get_weights()]


@pytest.mark.parametrize(
    "from_layer",
    ["all", "Conv1", "block_1_pad", "block_2_expand", "block_3_depthwise_BN", "block_4_expand_BN"],
)
@pytest.mark.parametrize("fold", [True, False])
def test_both_parts_together_are_the_network(from_layer, fold):
    features = new_features()
    network = split_network(features, from_layer, fold)
    pixels = np.random.default_rng(1).integers(0, 256, (3, SIZE, SIZE, 3)).astype("float32")
    expected = features(pixels)
    assert np.asarray(expected).std() > 0.01
    kept_activations = network.frozen(np_tensor(pixels))
    np.testing.assert_allclose(network.trained(kept_activations), expected, rtol=1e-4, atol=1e-5)
    assert network.has_frozen == (from_layer not in ("all", "Conv1"))


def np_tensor(values):
    import tensorflow as tf

    return tf.constant(values)


@pytest.mark.parametrize(
    ("from_layer", "name", "tolerance"),
    [("all", "SGD", 2e-5), ("block_2_expand", "SGD", 2e-5), ("block_2_expand", "Adam", 1e-3)],
)
def test_losses_are_those_of_fit(images, tmp_path, from_layer, name, tolerance):
    """Adam divides by the gradient's size, which enlarges rounding where that is near zero."""
    import keras

    rate = {"SGD": 1e-2, "Adam": 1e-4}[name]
    order = [
        [number for number, _ in fine_tuning.epoch_images(images, seed=5, epoch=epoch)]
        for epoch in range(2)
    ]
    assert order[0] != order[1]
    ours = our_losses(images, tmp_path, from_layer, name, rate)

    features = new_features()
    fine_tuning.trainable_from(features.get_layer("mobilenet_v2"), from_layer)
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
    variables = fine_tuning.trainable_from(features.get_layer("mobilenet_v2"), from_layer)
    variables += head.trainable_variables
    optimizer = fine_tuning.adam(rate) if name == "Adam" else keras.optimizers.SGD(rate)
    optimizer.build(variables)
    network = split_network(features, from_layer)
    compiled = fine_tuning.Compiled(network, head, SIZE)
    step = compiled.step(optimizer, variables, np.ones(2, "f"), 0.0)
    losses = []
    with records.Records(work / "records", 10**9) as held:
        split = fine_tuning.Split(images, "train", ["original"], compiled, held, network.has_frozen)
        split.keep(BATCH)
        assert split.kept == 18
        for epoch in range(2):
            examples = split.epoch(UNCHANGED, seed=5, epoch=epoch)
            labels, logits = split.each(examples, split.count, BATCH, step, "test")
            each = np.logaddexp(0, np.where(labels > 0, -1, 1) * logits)
            losses += [each[start : start + BATCH].sum() for start in range(0, len(each), BATCH)]
    return losses


@pytest.mark.parametrize(
    ("case", "some"),
    [
        ({"augment": {"flip": True}}, 400_000),
        ({"augment": {"flip": False, "rotation": 10.0}}, 400_000),
        ({"augment": {"flip": True}, "from_layer": "all"}, 200_000),
    ],
)
def test_what_is_kept_changes_nothing(images, train_params, tmp_path, monkeypatch, case, some):
    counts = []
    keep = fine_tuning.Split.keep

    def counted(split, batch_size):
        keep(split, batch_size)
        counts.append(split.kept)

    monkeypatch.setattr(fine_tuning.Split, "keep", counted)
    # A mistake in what is kept shows in the first losses; later, Adam would enlarge rounding.
    chosen = changed(train_params, epochs=2, learning_rate=1e-5, **case)
    histories = []
    for megabytes, bytes_each in ((0, 1), (1, some), (1, 10**9)):
        monkeypatch.setattr(shards, "MEGABYTE", bytes_each)
        limited = changed(chosen, cache_megabytes=megabytes)
        history, _ = tuned(images, limited, tmp_path / str(bytes_each))
        histories.append([[row["train_loss"], row["valid_loss"]] for row in history])
    assert counts[:2] == [0, 0]
    assert 0 < sum(counts[2:4]) < 27
    assert counts[4:] == [9, 18]
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
    assert not list((tmp_path / "two").glob("*.records"))


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


def test_training_starts_at_the_layer_named():
    trunk = new_features().get_layer("mobilenet_v2")
    variables = fine_tuning.trainable_from(trunk, "block_2_expand")
    assert not any("block_1_" in variable.path for variable in variables)
    assert any("block_2_depthwise" in variable.path for variable in variables)
    assert not any("_BN" in variable.path for variable in variables)
    with pytest.raises(PipelineError, match=r"received 'block_16_expand'.*Conv1"):
        fine_tuning.trainable_from(trunk, "block_16_expand")
    assert len(fine_tuning.trainable_from(trunk, "all")) > len(variables)


def test_records_hold_what_fits(tmp_path):
    records = [[np.arange(n, dtype="int16"), np.full((2, n), n, "float32")] for n in (3, 5, 4)]
    size = [sum(part.nbytes for part in record) for record in records]
    with records.Records(tmp_path / "records", size[0] + size[1]) as held:
        assert [held.append(record) for record in records] == [True, True, False]
        assert held.size == size[0] + size[1]
        for number in (1, 0):
            read = [np.empty_like(part) for part in records[number]]
            held.read(number, read)
            for part, expected in zip(read, records[number], strict=True):
                np.testing.assert_array_equal(part, expected)
    assert not (tmp_path / "records").exists()
