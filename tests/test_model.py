"""The image model and its parts, on a narrow MobileNetV2 with random weights."""

import io
import re
import zipfile

import numpy as np
import pytest
from PIL import Image

from deepfake import (
    backbone,
    conversion,
    dataset,
    embedding,
    engine,
    keras_file,
    model,
    runtime,
    views,
)
from deepfake.errors import PipelineError
from deepfake.head import Head
from deepfake.resizing import resized

pytestmark = pytest.mark.slow

LAYERS = ["block_1_expand_relu", "block_3_expand_relu"]
SIZE = 64
VIEWS = ["original", "mirrored"]


@pytest.fixture(scope="module")
def network():
    runtime.start(seed=3, precision="float32")
    return backbone.initial("random", 0.35)[0]


@pytest.fixture(scope="module")
def features(network):
    return backbone.features(network, LAYERS, ["mean", "std"], SIZE)


@pytest.fixture(scope="module")
def image_model(features):
    rng = np.random.default_rng(0)
    dimensions = features.output_shape[-1]
    head = linear(dimensions, rng.normal(size=(dimensions, 1)))
    return model.assemble(features, model.keras_head(head, 0.0), VIEWS, SIZE)


def linear(dimensions, kernel):
    """A head without hidden layers."""
    head = Head.create(
        np.zeros(dimensions, "f"), np.ones(dimensions, "f"), [], np.random.default_rng(0)
    )
    head.kernels[0][:], head.biases[0][:] = kernel, 0.1
    return head


def pictures(count, height, width, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def test_features_are_mean_and_std_of_the_activations(network, features):
    import keras

    pixels = pictures(2, SIZE, SIZE).astype("float32")
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
        backbone.features(network, ["block_99"], ["mean"], SIZE)


def test_score_is_a_float32_probability_for_pictures_of_any_size(image_model):
    for height, width in ((SIZE, SIZE), (100, 70), (31, 200)):
        score = np.asarray(image_model(pictures(2, height, width)))
        assert score.shape == (2, 1)
        assert score.dtype == np.float32
        assert ((score > 0) & (score < 1)).all()


def test_score_is_the_same_for_a_picture_and_its_mirror_image(image_model):
    pixels = pictures(3, SIZE, SIZE)
    np.testing.assert_allclose(
        np.asarray(image_model(pixels)), np.asarray(image_model(pixels[:, :, ::-1])), atol=1e-5
    )


def test_views_are_the_symmetries_of_the_square():
    square = pictures(2, 5, 5)
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
    assert set(expected) == set(views.VIEWS)
    for view, pixels in expected.items():
        np.testing.assert_array_equal(np.asarray(views.seen(square, view)), pixels)


def test_model_of_all_views_scores_a_picture_the_same_however_it_is_turned(features, image_model):
    head = image_model.get_layer("classify").get_layer("head")
    whole = model.assemble(features, head, views.VIEWS, SIZE)
    pixels = pictures(2, SIZE, SIZE)
    scores = [np.asarray(whole(views.seen(pixels, view))) for view in views.VIEWS]
    np.testing.assert_allclose(scores, np.broadcast_to(scores[0], np.shape(scores)), atol=1e-5)


def test_features_of_two_scales_are_those_of_each_beside_one_another(network, features):
    both = backbone.features(network, LAYERS, ["mean", "std"], SIZE, [1.0, 0.5])
    half = backbone.features(network, LAYERS, ["mean", "std"], SIZE // 2)
    pixels = pictures(2, SIZE, SIZE).astype("float32")
    expected = [features(pixels), half(backbone.resized(pixels, SIZE // 2))]
    np.testing.assert_allclose(
        np.asarray(both(pixels)), np.concatenate(expected, axis=1), atol=1e-4
    )


def test_score_does_not_depend_on_the_mode_the_model_is_called_in(image_model):
    pixels = pictures(3, 80, 80)
    plain = np.asarray(image_model(pixels))
    for training_mode in (False, True):
        np.testing.assert_array_equal(
            np.asarray(image_model(pixels, training=training_mode)), plain
        )
    np.testing.assert_allclose(image_model.predict(pixels, verbose=0), plain, atol=1e-6)


def test_scorer_gives_mixed_sizes_the_model_s_own_scores(image_model):
    mixed = [*pictures(2, 80, 80), *pictures(1, 50, 90, seed=1)]
    alone = [float(image_model(picture[None])[0, 0]) for picture in mixed]
    np.testing.assert_allclose(model.scorer(image_model)(mixed), alone, atol=1e-5)


def test_saved_model_is_the_same_bytes_and_needs_no_code_of_ours(image_model, tmp_path):
    import keras

    for name in ("one.keras", "two.keras"):
        model.save(image_model, tmp_path / name)
    assert (tmp_path / "one.keras").read_bytes() == (tmp_path / "two.keras").read_bytes()
    with zipfile.ZipFile(tmp_path / "one.keras") as archive:
        assert b"deepfake" not in archive.read("config.json")
    loaded = keras.models.load_model(tmp_path / "one.keras")
    pixels = pictures(2, 90, 60)
    np.testing.assert_array_equal(np.asarray(loaded(pixels)), np.asarray(image_model(pixels)))


def textures(count, height, width, seed=0):
    """Pictures that are not noise in every pixel, so that features differ from one another."""
    coarse = np.random.default_rng(seed).uniform(0, 255, (count, 8, 6, 3))
    large = [resized(np.repeat(np.repeat(c, 20, 0), 20, 1), max(height, width)) for c in coarse]
    return np.stack(large)[:, :height, :width].round().astype("uint8")


@pytest.mark.parametrize("size", [(40, 40), (64, 64), (90, 61), (57, 200), (300, 301)])
def test_resize_without_tensorflow_is_keras_s(size):
    (picture,) = textures(1, *size)
    wanted = np.asarray(backbone.resized(picture[None], SIZE))[0]
    np.testing.assert_allclose(resized(picture, SIZE), wanted, atol=2e-3)


@pytest.mark.parametrize("view", views.VIEWS)
def test_views_without_tensorflow_are_keras_s(view):
    (picture,) = pictures(1, 5, 5)
    wanted = np.asarray(views.seen(picture[None], view))[0]
    np.testing.assert_array_equal(views.shown(picture, view), wanted)


@pytest.fixture(scope="module")
def converted(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("engine") / "features.xml"
    conversion.convert(network, LAYERS, ["mean", "std"], path)
    return path


def test_conversion_gives_the_same_bytes(network, converted, tmp_path):
    conversion.convert(network, LAYERS, ["mean", "std"], tmp_path / "f.xml")
    for suffix in (".xml", ".bin"):
        again = (tmp_path / "f.xml").with_suffix(suffix).read_bytes()
        assert again == converted.with_suffix(suffix).read_bytes()


def shards(folder, decoded):
    """The pictures as PNG in one shard."""
    with dataset.ShardWriter(folder, 10) as writer:
        for number, pixels in enumerate(decoded):
            data = io.BytesIO()
            Image.fromarray(pixels).save(data, "PNG")
            name = str(number)
            writer.write(dataset.Picture(name, number % 2, "test", name, data.getvalue()))


def test_openvino_computes_keras_s_features(network, converted, tmp_path):
    scales = [1.0, 0.5]
    features = backbone.features(network, LAYERS, ["mean", "std"], SIZE, scales)
    decoded = [*textures(3, 90, 70), *textures(2, 50, 50, seed=1)]
    shards(tmp_path, decoded)
    found = np.stack(
        list(
            engine.extractor(converted, image_size=SIZE, scales=scales, views=VIEWS)(
                dataset.pictures(tmp_path, "test")
            )
        )
    )
    by_keras = embedding.keras_extractor(features, image_size=SIZE, views=VIEWS, batch_size=2)
    wanted = np.stack(list(by_keras(dataset.pictures(tmp_path, "test"))))
    assert found.shape == wanted.shape == (5, 2, 2 * features.output_shape[-1] // 2)
    np.testing.assert_allclose(found, wanted, atol=2e-4 * np.abs(wanted).max())
    assert np.abs(wanted[0] - wanted[1]).max() > 0.01 * np.abs(wanted).max()


def test_conversion_of_the_whole_network(network, tmp_path):
    path = tmp_path / "features.xml"
    assert conversion.convert(network, ["out_relu"], ["mean"], path) == 1280
    features = backbone.features(network, ["out_relu"], ["mean"], None)
    assert conversion.agreement(features, path, seed=1)["cosine"] > 0.99999


def test_features_of_another_network_are_refused(network, converted):
    other = backbone.initial("random", 0.35)[0]
    features = backbone.features(other, LAYERS, ["mean", "std"], None)
    with pytest.raises(PipelineError, match="not Keras's"):
        conversion.agreement(features, converted, seed=1)
    same = backbone.features(network, LAYERS, ["mean", "std"], None)
    assert conversion.agreement(same, converted, seed=1)["cosine"] > 0.99999


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
    model.save(model.untrained(features, dimensions, VIEWS, SIZE), tmp_path / "untrained.keras")
    keras_file.with_head(tmp_path / "untrained.keras", tmp_path / "ours.keras", head, 0.25)
    by_keras = model.assemble(features, model.keras_head(head, 0.25), VIEWS, SIZE)
    model.save(by_keras, tmp_path / "theirs.keras")

    configs = [
        keras_file.read(tmp_path / name)["config.json"].decode()
        for name in ("ours.keras", "theirs.keras")
    ]
    # Keras numbers the operations of a process one after the other.
    ours, theirs = (
        re.sub(r"((?:cast|resize|flip|add|true_divide))(_\d+)?\b", r"\1", c) for c in configs
    )
    assert ours == theirs
    assert keras_file.parameters(tmp_path / "ours.keras") == by_keras.count_params()
    loaded = model.load(tmp_path / "ours.keras")
    for one, two in zip(loaded.get_weights(), by_keras.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
    pixels = textures(3, SIZE, SIZE)
    np.testing.assert_array_equal(np.asarray(loaded(pixels)), np.asarray(by_keras(pixels)))

    read = keras_file.head(tmp_path / "ours.keras")
    for one, two in zip(read.weights, head.weights, strict=True):
        np.testing.assert_array_equal(one, two)
    turned = [[views.shown(picture, view) for view in VIEWS] for picture in pixels.astype("f")]
    embedded = np.stack([np.asarray(features(np.stack(picture))) for picture in turned])
    np.testing.assert_allclose(read.scores(embedded), model.scorer(loaded)(list(pixels)), atol=1e-5)


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
        assert embedding._whole_batches(file, shape, 4) == 4
    assert (tmp_path / "rows").stat().st_size == row * 4


def test_auto_weights_fall_back_where_imagenet_cannot_be_had(monkeypatch):
    mobilenet = backbone.mobilenet

    def refused(alpha, weights, precision="float32"):
        if weights == "imagenet":
            raise Exception("URL fetch failure on https://example.invalid: refused")
        return mobilenet(alpha, weights, precision)

    monkeypatch.setattr(backbone, "mobilenet", refused)
    assert backbone.initial("auto", 0.35)[1] == "random"
    with pytest.raises(PipelineError, match=r"_1\.0_224_no_top.h5.*KERAS_HOME"):
        backbone.initial("imagenet", 1.0)


def test_the_network_is_used_once_before_threads_share_it(converted, monkeypatch):
    # Two first calls side by side may wait for each other forever, one time in a hundred.
    used = []
    infer = engine.Network._infer
    monkeypatch.setattr(
        engine.Network, "_infer", lambda *given: used.append(given[3]) or infer(*given)
    )
    engine.Network(converted, [SIZE, 2 * SIZE])
    assert used == [SIZE, 2 * SIZE]
