"""The cache of activations on its own: what fits, a full disk, and a batch from both sources."""

import errno
import shutil

import numpy as np
import pytest

from deepfake.data import shards
from deepfake.data.array_file import ArrayFile
from deepfake.models import pooling, tensorflow_setup
from deepfake.training import activation_cache, frozen_prefix
from deepfake.training.activation_cache import ActivationCache, FrozenLayers
from deepfake.training.examples import Example
from tests.support.making import image_file
from tests.support.split_networks import new_features, split_network

pytestmark = pytest.mark.slow

VIEWS = ["original", "transposed"]
BATCH = 2


@pytest.fixture(scope="module")
def layers():
    tensorflow_setup.start(seed=3, precision="float32")
    return FrozenLayers(split_network(new_features("mixed_bfloat16"), "block_2_expand").frozen)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Five training images with the labels 0, 1, 0, 1, 0."""
    directory = tmp_path_factory.mktemp("images")
    with shards.ShardWriter(directory, 1) as writer:
        for number in range(5):
            data = image_file(number)
            writer.write(shards.ImageFile(str(number), number % 2, "train", "", data))
    return directory


def test_each_image_is_shown_in_its_view(layers):
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    turned = np.stack([images[0].swapaxes(0, 1), images[1][:, ::-1]])
    found = layers(list(images), ["transposed", "mirrored"], [0, 1])
    expected = layers(list(turned), ["original"], [0, 0])
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other))


def filled(folder, layers, images, limit):
    cache = ActivationCache(folder, layers, VIEWS, limit)
    cache.fill(images, "train", BATCH)
    return cache


def test_as_many_images_are_cached_as_fit(tmp_path, layers, images):
    everything = filled(tmp_path / "all", layers, images, 10**9)
    assert everything.labels == [0, 1, 0, 1, 0]
    on_disk = sum(path.stat().st_size for path in (tmp_path / "all").iterdir())
    assert everything.size == on_disk
    some = filled(tmp_path / "some", layers, images, on_disk * 3 // 5)
    assert some.labels == [0, 1, 0]
    assert some.size == sum(path.stat().st_size for path in (tmp_path / "some").iterdir())
    fewer = filled(tmp_path / "fewer", layers, images, on_disk * 3 // 5 - 1)
    assert fewer.labels == [0, 1]
    assert filled(tmp_path / "none", layers, images, on_disk // 5 - 1).size == 0


def test_a_batch_is_read_and_computed(tmp_path, layers, images):
    pixels = [pixels for _, pixels in shards.decoded(shards.image_files(images, "train"))]
    shown = [(3, 1), (1, 0), (0, 1), (4, 0), (1, 1)]
    cache = filled(tmp_path, layers, images, 10**9)
    expected = layers([pixels[number] for number, _ in shown], VIEWS, [view for _, view in shown])
    for cached in (0, 3, 5):
        batch = [
            Example(number, 0, view, None if number < cached else pixels[number])
            for number, view in shown
        ]
        found = cache.activations(batch)
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert one.dtype == other.dtype
            np.testing.assert_allclose(
                np.asarray(one, "float32"), np.asarray(other, "float32"), rtol=1e-2, atol=1e-2
            )


def test_a_single_tensor_may_cross_the_cut(tmp_path, images):
    import keras

    pixels = keras.Input((None, None, 3))
    first = keras.layers.Conv2D(2, 3, name="first")(pixels)
    second = keras.layers.Conv2D(2, 3, name="second")(first)
    network = keras.Model(pixels, second, name="mobilenet_v2")  # whose pixels are scaled so
    features = pooling.features(network, ["second"], ["mean"], 16)
    parts = frozen_prefix.split(
        features, "second", statistics=["mean"], image_size=16, scales=[1.0]
    )
    layers = FrozenLayers(parts.frozen)
    assert len(layers.outputs) == 1
    cache = filled(tmp_path, layers, images, 10**9)
    assert len(cache.labels) == 5
    read = cache.activations([Example(number, 0, 0, None) for number in range(5)])
    decoded = [pixels for _, pixels in shards.decoded(shards.image_files(images, "train"))]
    expected = layers(decoded, ["original"], [0] * 5)
    np.testing.assert_allclose(read[0], expected[0], rtol=1e-5, atol=1e-4)


def test_a_full_disk_ends_the_cache(tmp_path, layers, images, monkeypatch):
    append, calls = ArrayFile.append, []

    def full(file, rows):
        calls.append(len(rows))
        if len(calls) == len(layers.outputs) + 2:  # in the second batch, some of it written
            raise OSError(errno.ENOSPC, "No space left on device")
        append(file, rows)

    monkeypatch.setattr(ArrayFile, "append", full)
    cache = filled(tmp_path, layers, images, 10**9)
    assert cache.labels == [0, 1]
    assert all(len(part) == 1 for part in cache.activations([Example(1, 1, 1, None)]))


def test_room_is_left_on_the_disk(tmp_path, layers, images, monkeypatch):
    needed = filled(tmp_path / "all", layers, images, 10**9).size
    usage = shutil.disk_usage(tmp_path)
    free = activation_cache._LEFT_FREE + needed // 2
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=free))
    assert len(filled(tmp_path / "some", layers, images, 10**9).labels) == 2
    free = activation_cache._LEFT_FREE // 2
    assert filled(tmp_path / "none", layers, images, 10**9).labels == []
