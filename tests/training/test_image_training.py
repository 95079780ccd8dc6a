"""The recipes `transfer` and `cnn` on a few images: what is trained, kept, and continued."""

import functools

import keras
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from deepfake import params
from deepfake.common import paths
from deepfake.data import images as decoding
from deepfake.data import shards
from deepfake.models import image_model, registry, tensorflow_setup
from deepfake.training import image_batches, loop, recipes
from deepfake.training.augmentation import Augmentation
from tests.support.making import encoded, image_file
from tests.support.networks import noise_images

pytestmark = pytest.mark.slow

SHIPPED = params.load()
SIZE, BATCH, COUNT = 32, 4, 10
AUGMENT = Augmentation(
    flip=True, rotation=10.0, shear=5.0, zoom=0.1, shift=0.1, contrast=0.1, jpeg=0.5
)
LAYERS = ["c4 relu", "bn", "pool2", "flat", "drop0.3", "d8 relu", "d1"]


class Killed(Exception):
    pass


@pytest.fixture(scope="module", autouse=True)
def started():
    tensorflow_setup.start(seed=3, precision="float32")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory with images and a backbone."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry, "load", small_backbone)
    with shards.ShardWriter(paths.IMAGES, 1) as writer:
        for split, count in (("train", COUNT), ("valid", 6)):
            for number in range(count):
                data = image_file(len(split) * 100 + number, 40)
                name = f"{split}{number}"
                writer.write(shards.ImageFile(name, number % 2, split, name, data))
    return tmp_path


def settings(recipe, precision="float32", **changes):
    """The shipped parameters, made small; `changes` are of the recipe's section."""
    values = SHIPPED.model_dump()
    values["backbone"] |= {"alpha": 0.35, "precision": precision}
    values["train"]["recipe"] = recipe
    small = {"input_size": SIZE, "batch_size": BATCH, "epochs": 2, "learning_rate": 1e-3}
    values["train"]["cnn"] |= {**small, "layers": LAYERS}
    values["train"]["transfer"] |= {
        **small, "unfreeze_epochs": 2, "unfreeze_learning_rate": 1e-4, "unfreeze_from": "block_15",
        "batch_norm": True, "units": [8], "dropout": [0.5],
    }  # fmt: skip
    values["train"][recipe] |= changes
    values["execution"]["cache_megabytes"] = 1
    return params.validate(values)


def small_backbone(path, chosen, precision="float32"):
    """A network with the names of MobileNetV2's layers, in place of the one that is saved."""
    rng = np.random.default_rng(0)
    pixels = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(8, 3, 2, dtype=precision, name="Conv1")(pixels)
    x = keras.layers.BatchNormalization(dtype=precision, name="bn_Conv1")(x)
    x = keras.layers.Conv2D(8, 3, 2, dtype=precision, name="block_15_expand")(x)
    x = keras.layers.BatchNormalization(dtype=precision, name="block_15_expand_BN")(x)
    model = keras.Model(pixels, keras.layers.ReLU(dtype=precision)(x), name="mobilenet_v2")
    model.set_weights([rng.uniform(0, 0.5, w.shape) for w in model.get_weights()])
    return model


def train(chosen, work, on_epoch=lambda row: None, precision="float32"):
    work.mkdir(exist_ok=True)
    keras.backend.clear_session()
    keras.utils.set_random_seed(chosen.seed)
    return recipes.train_on_images(chosen, precision, work, on_epoch)


@pytest.mark.parametrize("recipe", ["transfer", "cnn"])
def test_a_killed_run_ends_with_the_same_history_and_the_same_bytes(recipe, folder, monkeypatch):
    monkeypatch.setattr(loop, "_CHECKPOINT_SECONDS", 0.0)
    chosen = settings(recipe)
    wanted = []
    states = train(chosen, folder / "a", wanted.append)
    bytes_wanted = paths.IMAGE_MODEL.read_bytes()
    assert len(wanted) == {"transfer": 4, "cnn": 2}[recipe]
    assert {row["phase"] for row in wanted} == set(states)
    assert set(wanted[0]) == set(loop.HISTORY_COLUMNS)

    found = []

    def kill(row):
        found.append(row)
        if len(found) == len(wanted) - 1:
            raise Killed

    with pytest.raises(Killed):
        train(chosen, folder / "b", kill)
    found.clear()
    train(chosen, folder / "b", found.append)
    assert found == wanted
    assert paths.IMAGE_MODEL.read_bytes() == bytes_wanted


def test_the_first_phase_leaves_the_backbone_as_it_was(folder):
    states = train(settings("transfer", unfreeze_epochs=0), folder / "a")
    assert states["fine_tune"].history == []
    for one, other in zip(backbone_weights(), given(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_second_phase_trains_from_the_block_on_and_no_batch_norm(folder, monkeypatch):
    monkeypatch.setattr(loop, "roc_auc", lambda labels, logits: next(rising))
    rising = iter(np.linspace(0.1, 0.9, 50))  # so that the last epoch is the best
    states = train(settings("transfer", unfreeze_learning_rate=1e-2), folder / "a")
    assert states["fine_tune"].best_epoch == 2
    names = [f"{w.path}" for w in small_backbone("", None).weights]
    changed = {
        name
        for name, one, other in zip(names, backbone_weights(), given(), strict=True)
        if (one != other).any()
    }
    assert changed == {"block_15_expand/kernel", "block_15_expand/bias"}


def given():
    return small_backbone("", None).get_weights()


def backbone_weights():
    classify = image_model.load(paths.IMAGE_MODEL).get_layer("classify")
    return classify.get_layer("mobilenet_v2").get_weights()


def test_the_saved_model_has_the_best_epoch_s_scores(folder):
    states = train(settings("cnn"), folder / "a")
    model = image_model.load(paths.IMAGE_MODEL)
    valid = image_batches.ImageStore(paths.IMAGES, "valid", 0)
    scores = np.concatenate([np.asarray(model(valid[i][None]))[:, 0] for i in range(6)])
    state = states["network"]
    best = state.history[state.best_epoch - 1]
    loss = -np.log(np.where(valid.labels > 0, scores, 1 - scores)).mean()
    assert loss == pytest.approx(best["valid_loss"], abs=1e-4)


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("recipe", ["transfer", "cnn"])
def test_in_16_bits_it_trains_and_is_saved_in_float32(recipe, precision, folder):
    states = train(settings(recipe, precision), folder / "a", precision=precision)
    assert all(np.isfinite(row["train_loss"]) for s in states.values() for row in s.history)
    model = image_model.load(paths.IMAGE_MODEL)
    policies = {layer.dtype_policy.name for layer in model.get_layer("classify").layers}
    assert policies == {"float32"}
    assert np.isfinite(np.asarray(model(noise_images(2, 40, 50)))).all()


def test_a_cnn_learns_what_can_be_learnt(folder):
    """Bright fakes and dark reals are told apart."""
    for file in paths.IMAGES.iterdir():
        file.unlink()
    rng = np.random.default_rng(0)
    with shards.ShardWriter(paths.IMAGES, 1) as writer:
        for split in ("train", "valid"):
            for number in range(16):
                low = 0 if number % 2 == 0 else 128
                pixels = rng.integers(low, low + 128, (36, 36, 3), dtype=np.uint8)
                data = encoded(Image.fromarray(pixels), "PNG")
                name = f"{split}{number}"
                writer.write(shards.ImageFile(name, number % 2, split, name, data))
    states = train(settings("cnn", epochs=8), folder / "a")
    assert states["network"].best_roc_auc > 0.95


def test_batches_hold_every_image_once_in_an_order_of_the_epoch(folder):
    store = image_batches.ImageStore(paths.IMAGES, "train", 10**9)
    make = functools.partial(image_batches.training_batches, store, size=40, batch_size=BATCH)
    epochs = [make(None, seed=1, epoch=epoch) for epoch in (0, 1, 0)]
    pixels = [np.concatenate([b[i][0] for i in range(len(b))]) for b in epochs]
    originals = {decoding.decode(item.data).tobytes() for item in files()}
    assert {image.astype("uint8").tobytes() for image in pixels[0]} == originals
    assert (pixels[0] != pixels[1]).any()
    np.testing.assert_array_equal(pixels[0], pixels[2])
    assert [len(epochs[0][i][1]) for i in range(len(epochs[0]))] == [4, 4, 2]


def test_labels_go_with_their_images_whatever_is_cached(folder):
    wanted = {decoding.decode(item.data).tobytes(): item.label for item in files()}
    for limit in (0, 6000, 10**9):
        store = image_batches.ImageStore(paths.IMAGES, "train", limit)
        for _ in range(2):
            made = image_batches.training_batches(
                store, None, size=40, batch_size=3, seed=2, epoch=0
            )
            for pixels, labels in (made[i] for i in range(len(made))):
                for image, label in zip(pixels, labels, strict=True):
                    assert wanted[image.astype("uint8").tobytes()] == label[0]
        held = sum(pixels.nbytes for pixels in store._decoded.values())
        assert held <= limit


def test_augmentation_follows_from_seed_epoch_and_image(folder):
    made = []
    for limit in (0, 10**9):
        store = image_batches.ImageStore(paths.IMAGES, "train", limit)
        batches = image_batches.training_batches(
            store, AUGMENT, size=SIZE, batch_size=COUNT, seed=1, epoch=4
        )
        made.append(batches[0][0])
    np.testing.assert_array_equal(*made)


def files():
    return list(shards.image_files(paths.IMAGES, "train"))


def test_plateau_is_keras_s_reduce_lr_on_plateau():
    rng = np.random.default_rng(4)
    losses = np.concatenate([np.linspace(1, 0.5, 5), 0.5 + rng.uniform(-0.02, 0.1, 40)]).tolist()
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(1e-3), "mse")
    callback = keras.callbacks.ReduceLROnPlateau("val_loss", 0.1, 5, min_lr=1e-7)
    callback.set_model(model)
    callback.on_train_begin()
    rates = []
    for epoch, loss in enumerate(losses):
        callback.on_epoch_end(epoch, {"val_loss": loss})
        rates.append(float(model.optimizer.learning_rate))
        assert loop.plateau(1e-3, losses[: epoch + 1]) == pytest.approx(rates[-1], rel=1e-4)
    assert min(rates) == pytest.approx(1e-7, rel=1e-4)


def test_history_has_the_columns_of_every_recipe(folder):
    rows = []
    train(settings("cnn", epochs=1), folder / "a", rows.append)
    table = pd.DataFrame(rows)
    assert list(table.columns) == list(loop.HISTORY_COLUMNS)
