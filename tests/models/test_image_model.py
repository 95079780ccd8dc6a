"""The image model and its parts, on a narrow MobileNetV2 with random weights."""

import io
import re
import zipfile

import numpy as np
import pytest
from PIL import Image

from deepfake.common.errors import PipelineError
from deepfake.common.labels import VIEWS as VIEWS_OF_A_SQUARE
from deepfake.data import shards
from deepfake.data.resizing import resized
from deepfake.inference import embed, keras_engine, openvino_engine, openvino_export, scoring
from deepfake.models import (
    image_model,
    keras_archive,
    mobilenet_v2,
    pooling,
    symmetries,
    tensorflow_setup,
)
from deepfake.models.head import Head

pytestmark = pytest.mark.slow

LAYERS = ["block_1_expand_relu", "block_3_expand_relu"]
SIZE = 64
VIEWS = ["original", "mirrored"]


@pytest.fixture(scope="module")
def network():
    tensorflow_setup.start(seed=3, precision="float32")
    return mobilenet_v2.initial("random", 0.35)[0]


@pytest.fixture(scope="module")
def features(network):
    return pooling.features(network, LAYERS, ["mean", "std"], SIZE)


@pytest.fixture(scope="module")
def scored(features):
    rng = np.random.default_rng(0)
    dimensions = features.output_shape[-1]
    head = linear(dimensions, rng.normal(size=(dimensions, 1)))
    return image_model.assemble(features, image_model.keras_head(head, 0.0), VIEWS, SIZE)


def linear(dimensions, kernel):
    """A head without hidden layers."""
    head = Head.create(
        np.zeros(dimensions, "f"), np.ones(dimensions, "f"), [], np.random.default_rng(0)
    )
    head.kernels[0][:], head.biases[0][:] = kernel, 0.1
    return head


def image_files(count, height, width, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def test_features_are_mean_and_std_of_the_activations(network, features):
    import keras

    pixels = image_files(2, SIZE, SIZE).astype("float32")
    taps = keras.Model(network.input, [network.get_layer(name).output for name in LAYERS])
    expected = []
    for activations in taps(pixels / 127.5 - 1, training=False):
        values = np.asarray(activations)
        expected += [values.mean(axis=(1, 2)), values.std(axis=(1, 2))]
    np.testing.assert_allclose(
        np.asarray(features(pixels)), np.concatenate(expected, axis=1), atol=2e-5
    )


def test_unknown_layer_is_refused_with_the_names_there_are(network):
    with pytest.raises(PipelineError, match=r"no layer 'block_99'.*block_1_expand_relu"):
        pooling.features(network, ["block_99"], ["mean"], SIZE)


def test_score_is_a_float32_probability_for_images_of_any_size(scored):
    for height, width in ((SIZE, SIZE), (100, 70), (31, 200)):
        score = np.asarray(scored(image_files(2, height, width)))
        assert score.shape == (2, 1)
        assert score.dtype == np.float32
        assert ((score > 0) & (score < 1)).all()


def test_score_is_the_same_for_an_image_and_its_mirror_image(scored):
    pixels = image_files(3, SIZE, SIZE)
    np.testing.assert_allclose(
        np.asarray(scored(pixels)), np.asarray(scored(pixels[:, :, ::-1])), atol=1e-5
    )


def test_views_are_the_symmetries_of_the_square():
    square = image_files(2, 5, 5)
    expected = {
        "original": square,
        "mirrored": square[:, :, ::-1],
        "flipped": square[:, ::-1],
        "turned": np.rot90(square, 2, axes=(1, 2)),
        "transposed": square.transpose(0, 2, 1, 3),
        "rotated_right": np.rot90(square, -1, axes=(1, 2)),
        "rotated_left": np.rot90(square, 1, axes=(1, 2)),
        "transversed": np.rot90(square, 2, axes=(1, 2)).transpose(0, 2, 1, 3),
    }
    assert set(expected) == set(VIEWS_OF_A_SQUARE)
    for view, pixels in expected.items():
        np.testing.assert_array_equal(np.asarray(symmetries.seen(square, view)), pixels)


def test_model_of_all_views_scores_an_image_the_same_however_it_is_turned(features, scored):
    head = scored.get_layer("classify").get_layer("head")
    whole = image_model.assemble(features, head, VIEWS_OF_A_SQUARE, SIZE)
    pixels = image_files(2, SIZE, SIZE)
    scores = [np.asarray(whole(symmetries.seen(pixels, view))) for view in VIEWS_OF_A_SQUARE]
    np.testing.assert_allclose(scores, np.broadcast_to(scores[0], np.shape(scores)), atol=1e-5)


def test_features_of_two_scales_are_those_of_each_beside_one_another(network, features):
    both = pooling.features(network, LAYERS, ["mean", "std"], SIZE, [1.0, 0.5])
    half = pooling.features(network, LAYERS, ["mean", "std"], SIZE // 2)
    pixels = image_files(2, SIZE, SIZE).astype("float32")
    expected = [features(pixels), half(pooling.resized(pixels, SIZE // 2))]
    np.testing.assert_allclose(
        np.asarray(both(pixels)), np.concatenate(expected, axis=1), atol=1e-4
    )


def test_score_does_not_depend_on_the_mode_the_model_is_called_in(scored):
    pixels = image_files(3, 80, 80)
    plain = np.asarray(scored(pixels))
    for training_mode in (False, True):
        np.testing.assert_array_equal(np.asarray(scored(pixels, training=training_mode)), plain)
    np.testing.assert_allclose(image_model.predict(pixels, verbose=0), plain, atol=1e-6)


def test_scorer_gives_mixed_sizes_the_model_s_own_scores(scored):
    mixed = [*image_files(2, 80, 80), *image_files(1, 50, 90, seed=1)]
    alone = [float(scored(image_file[None])[0, 0]) for image_file in mixed]
    np.testing.assert_allclose(scoring.scorer(scored)(mixed), alone, atol=1e-5)


def test_saved_model_is_the_same_bytes_and_needs_no_code_of_ours(scored, tmp_path):
    import keras

    for name in ("one.keras", "two.keras"):
        image_model.save(image_model, tmp_path / name)
    assert (tmp_path / "one.keras").read_bytes() == (tmp_path / "two.keras").read_bytes()
    with zipfile.ZipFile(tmp_path / "one.keras") as archive:
        assert b"deepfake" not in archive.read("config.json")
    loaded = keras.models.load_model(tmp_path / "one.keras")
    pixels = image_files(2, 90, 60)
    np.testing.assert_array_equal(np.asarray(loaded(pixels)), np.asarray(scored(pixels)))


def textures(count, height, width, seed=0):
    """Images that are not noise in every pixel, so that features differ from one another."""
    coarse = np.random.default_rng(seed).uniform(0, 255, (count, 8, 6, 3))
    large = [resized(np.repeat(np.repeat(c, 20, 0), 20, 1), max(height, width)) for c in coarse]
    return np.stack(large)[:, :height, :width].round().astype("uint8")


@pytest.mark.parametrize("size", [(40, 40), (64, 64), (90, 61), (57, 200), (300, 301)])
def test_resize_without_tensorflow_is_keras_s(size):
    (image_file,) = textures(1, *size)
    wanted = np.asarray(pooling.resized(image_file[None], SIZE))[0]
    np.testing.assert_allclose(resized(image_file, SIZE), wanted, atol=2e-3)


@pytest.mark.parametrize("view", VIEWS_OF_A_SQUARE)
def test_views_without_tensorflow_are_keras_s(view):
    (image_file,) = image_files(1, 5, 5)
    wanted = np.asarray(symmetries.seen(image_file[None], view))[0]
    np.testing.assert_array_equal(symmetries.shown(image_file, view), wanted)


@pytest.fixture(scope="module")
def converted(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("engine") / "features.xml"
    openvino_export.convert(network, LAYERS, ["mean", "std"], path)
    return path


def test_conversion_gives_the_same_bytes(network, converted, tmp_path):
    openvino_export.convert(network, LAYERS, ["mean", "std"], tmp_path / "f.xml")
    for suffix in (".xml", ".bin"):
        again = (tmp_path / "f.xml").with_suffix(suffix).read_bytes()
        assert again == converted.with_suffix(suffix).read_bytes()


def write_shards(folder, decoded):
    """The images as PNG in one shard."""
    with shards.ShardWriter(folder, 10) as writer:
        for number, pixels in enumerate(decoded):
            data = io.BytesIO()
            Image.fromarray(pixels).save(data, "PNG")
            name = str(number)
            writer.write(shards.ImageFile(name, number % 2, "test", name, data.getvalue()))


def test_openvino_computes_keras_s_features(network, converted, tmp_path):
    scales = [1.0, 0.5]
    features = pooling.features(network, LAYERS, ["mean", "std"], SIZE, scales)
    decoded = [*textures(3, 90, 70), *textures(2, 50, 50, seed=1)]
    write_shards(tmp_path, decoded)
    found = np.stack(
        list(
            openvino_engine.extractor(converted, image_size=SIZE, scales=scales, views=VIEWS)(
                shards.image_files(tmp_path, "test")
            )
        )
    )
    by_keras = keras_engine.keras_extractor(features, image_size=SIZE, views=VIEWS, batch_size=2)
    wanted = np.stack(list(by_keras(shards.image_files(tmp_path, "test"))))
    assert found.shape == wanted.shape == (5, 2, 2 * features.output_shape[-1] // 2)
    np.testing.assert_allclose(found, wanted, atol=2e-4 * np.abs(wanted).max())
    assert np.abs(wanted[0] - wanted[1]).max() > 0.01 * np.abs(wanted).max()


def test_conversion_of_the_whole_network(network, tmp_path):
    path = tmp_path / "features.xml"
    assert openvino_export.convert(network, ["out_relu"], ["mean"], path) == 1280
    features = pooling.features(network, ["out_relu"], ["mean"], None)
    assert openvino_export.agreement(features, path, seed=1)["cosine"] > 0.99999


def test_features_of_another_network_are_refused(network, converted):
    other = mobilenet_v2.initial("random", 0.35)[0]
    features = pooling.features(other, LAYERS, ["mean", "std"], None)
    with pytest.raises(PipelineError, match="not Keras's"):
        openvino_export.agreement(features, converted, seed=1)
    same = pooling.features(network, LAYERS, ["mean", "std"], None)
    assert openvino_export.agreement(same, converted, seed=1)["cosine"] > 0.99999


@pytest.mark.parametrize("hidden", [[], [7], [12, 5, 3]])
def test_head_put_into_the_file_is_what_keras_saves(features, tmp_path, hidden):
    rng = np.random.default_rng(1)
    dimensions = features.output_shape[-1]
    moments = rng.normal(size=dimensions), rng.uniform(0.5, 2, dimensions)
    moments[1][:3] = 1e-18  # a standard deviation below Keras's epsilon
    head = Head.create(*(m.astype("f") for m in moments), hidden, rng)
    for weight in head.weights:
        weight[:] = rng.normal(size=weight.shape) * 0.1
    head.kernels[0][:3] *= 1e-7
    image_model.save(
        image_model.untrained(features, dimensions, VIEWS, SIZE), tmp_path / "untrained.keras"
    )
    keras_archive.with_head(tmp_path / "untrained.keras", tmp_path / "ours.keras", head, 0.25)
    by_keras = image_model.assemble(features, image_model.keras_head(head, 0.25), VIEWS, SIZE)
    image_model.save(by_keras, tmp_path / "theirs.keras")

    configs = [
        keras_archive.read(tmp_path / name)["config.json"].decode()
        for name in ("ours.keras", "theirs.keras")
    ]
    # Keras numbers the operations of a process one after the other.
    ours, theirs = (
        re.sub(r"((?:cast|resize|flip|add|true_divide))(_\d+)?\b", r"\1", c) for c in configs
    )
    assert ours == theirs
    assert keras_archive.parameters(tmp_path / "ours.keras") == by_keras.count_params()
    loaded = image_model.load(tmp_path / "ours.keras")
    for one, two in zip(loaded.get_weights(), by_keras.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
    pixels = textures(3, SIZE, SIZE)
    np.testing.assert_array_equal(np.asarray(loaded(pixels)), np.asarray(by_keras(pixels)))

    read = keras_archive.head(tmp_path / "ours.keras")
    for one, two in zip(read.weights, head.weights, strict=True):
        np.testing.assert_array_equal(one, two)
    turned = [
        [symmetries.shown(image_file, view) for view in VIEWS] for image_file in pixels.astype("f")
    ]
    embedded = np.stack([np.asarray(features(np.stack(image_file))) for image_file in turned])
    np.testing.assert_allclose(
        read.scores(embedded), scoring.scorer(loaded)(list(pixels)), atol=1e-5
    )


def test_random_filters_do_not_answer_to_brightness(network):
    for name in ("Conv1", "block_5_depthwise"):
        (kernel,) = network.get_layer(name).get_weights()
        np.testing.assert_allclose(kernel.sum(axis=(0, 1)), 0, atol=1e-5)
        assert np.abs(kernel).max() > 0.01


def test_interrupted_embedding_is_cut_back_to_whole_batches(tmp_path):
    shape = (10, 2, 3)
    row = 2 * 3 * 4
    with open(tmp_path / "rows", "ab") as file:
        file.write(b"x" * (row * 7 + 5))
        assert embed._whole_batches(file, shape, 4) == 4
    assert (tmp_path / "rows").stat().st_size == row * 4


def test_auto_weights_fall_back_where_imagenet_cannot_be_had(monkeypatch):
    mobilenet = mobilenet_v2.mobilenet

    def refused(alpha, weights, precision="float32"):
        if weights == "imagenet":
            raise Exception("URL fetch failure on https://example.invalid: refused")
        return mobilenet(alpha, weights, precision)

    monkeypatch.setattr(mobilenet_v2, "mobilenet", refused)
    assert mobilenet_v2.initial("auto", 0.35)[1] == "random"
    with pytest.raises(PipelineError, match=r"_1\.0_224_no_top.h5.*KERAS_HOME"):
        mobilenet_v2.initial("imagenet", 1.0)


def test_the_network_is_used_once_before_threads_share_it(converted, monkeypatch):
    # Two first calls side by side may wait for each other forever, one time in a hundred.
    used = []
    infer = openvino_engine.Network._infer
    monkeypatch.setattr(
        openvino_engine.Network, "_infer", lambda *given: used.append(given[3]) or infer(*given)
    )
    openvino_engine.Network(converted, [SIZE, 2 * SIZE])
    assert used == [SIZE, 2 * SIZE]
