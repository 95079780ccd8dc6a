"""The image model and its parts, on a narrow MobileNetV2 with random weights."""

import zipfile

import numpy as np
import pytest

from deepfake import backbone, embedding, model, runtime, training, views
from deepfake.errors import PipelineError

pytestmark = pytest.mark.slow

LAYERS = ["block_1_expand_relu", "block_3_expand_relu"]
SIZE = 64


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
    head = model.head(np.zeros(dimensions, "f"), np.ones(dimensions, "f"), [], 0.0)
    head.get_layer("logit").set_weights([rng.normal(size=(dimensions, 1)), np.array([0.1])])
    return model.assemble(features, head, ["original", "mirrored"], SIZE)


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


def test_scores_from_embeddings_are_those_from_the_pictures(
    image_model, features, tmp_path, monkeypatch
):
    decoded = pictures(5, SIZE, SIZE)
    monkeypatch.setattr(model.dataset, "pictures", lambda images, split: iter(range(5)))
    monkeypatch.setattr(model.dataset, "decoded", lambda items: ((i, decoded[i]) for i in items))
    views = [np.asarray(features(decoded[:, :, ::step].astype("f"))) for step in (1, -1)]
    rows = np.stack(views, axis=1)
    embedded = embedding.Embeddings(list("abcde"), np.zeros(5, "int8"), rows)
    np.testing.assert_allclose(
        model.score_embeddings(image_model, embedded),
        model.scorer(image_model)(list(decoded)),
        atol=1e-4,
    )
    model.check_embeddings(image_model, embedded, tmp_path)
    others = embedding.Embeddings(list("abcde"), np.zeros(5, "int8"), rows + 1)
    with pytest.raises(PipelineError, match="not of this model's network"):
        model.check_embeddings(image_model, others, tmp_path)


def test_untrained_head_says_one_half():
    head = model.head(np.zeros(4, "f"), np.ones(4, "f"), [8], 0.5)
    assert np.asarray(head(np.ones((1, 4), "f")))[0, 0] == 0


def test_constant_feature_is_not_amplified():
    mean, variance = model.standardisation(np.array([5.0, 1.0]), np.array([1e-7, 2.0]))
    assert variance.tolist() == [1.0, 4.0]
    assert mean.tolist() == [5.0, 1.0]


def embeddings(count, seed, dimensions=30):
    """Two views of `count` examples whose first feature tells the classes apart, with noise."""
    rng = np.random.default_rng(seed)
    labels = (np.arange(count) % 2).astype("int8")
    features = rng.normal(size=(count, 2, dimensions)).astype("float32") * 3 + 10
    features[:, :, 0] += labels[:, None] * 4
    return embedding.Embeddings([str(i) for i in range(count)], labels, features)


@pytest.fixture
def train_params():
    from deepfake import params

    settings = params.load().train
    return settings.model_copy(
        update={"epochs": 12, "patience": 12, "batch_size": 16, "hidden": [8], "dropout": 0.3}
    )


def train_head(params, work, on_epoch=lambda row: None):
    return training.train_head(
        embeddings(200, 1), embeddings(60, 2), params, seed=5, work=work, on_epoch=on_epoch
    )


def test_head_learns_and_keeps_its_best_epoch(train_params, tmp_path):
    rows = []
    head, state = train_head(train_params, tmp_path, rows.append)
    valid = embeddings(60, 2)
    _, roc_auc = training.measured(valid.labels, model.head_logits(head, valid.features))
    assert roc_auc == pytest.approx(max(row["valid_roc_auc"] for row in rows))
    assert roc_auc == pytest.approx(state.best_roc_auc)
    assert roc_auc > 0.65


def test_linear_head_reaches_the_regularised_optimum(train_params, tmp_path):
    from sklearn.linear_model import LogisticRegression

    train, decay = embeddings(200, 1), 0.05
    params = train_params.model_copy(
        update={"hidden": [], "weight_decay": decay, "epochs": 150, "patience": 150,
                "learning_rate": 0.01}
    )  # fmt: skip
    _, state = train_head(params, tmp_path)
    mean, std = training.moments(train.features)
    rows = (train.features.reshape(-1, 30) - mean) / std
    exact = LogisticRegression(C=1 / (decay * len(rows)), tol=1e-8).fit(
        rows, np.repeat(train.labels, 2)
    )
    logits = exact.decision_function(
        (embeddings(60, 2).features.reshape(-1, 30) - mean) / std
    ).reshape(-1, 2).mean(axis=1)  # fmt: skip
    final = state.history[-1]
    assert final["valid_roc_auc"] == pytest.approx(
        training.measured(embeddings(60, 2).labels, logits)[1], abs=0.005
    )
    assert final["valid_loss"] == pytest.approx(
        training.measured(embeddings(60, 2).labels, logits)[0], abs=0.005
    )


def test_killed_training_continues_to_the_same_weights(train_params, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "_CHECKPOINT_SECONDS", 0.0)
    undisturbed, _ = train_head(train_params, tmp_path / "one")

    class Killed(Exception):
        pass

    rows = []

    def stop_after_seven(row):
        rows.append(row)
        if len(rows) == 7:
            raise Killed

    with pytest.raises(Killed):
        train_head(train_params, tmp_path / "two", stop_after_seven)
    assert (tmp_path / "two" / "head.npz").exists()
    rows.clear()
    continued, _ = train_head(train_params, tmp_path / "two", rows.append)
    assert len(rows) == 12
    for one, two in zip(undisturbed.get_weights(), continued.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)


def test_diverged_training_says_so():
    with pytest.raises(PipelineError, match="lower learning_rate"):
        training.measured(np.array([0, 1]), np.array([0.0, np.nan]))


def test_moments_are_those_of_all_rows_in_any_number_of_blocks(monkeypatch):
    features = embeddings(50, 3).features
    monkeypatch.setattr(embedding, "BLOCK_BYTES", 7 * features[0].nbytes)
    mean, std = training.moments(features)
    rows = features.reshape(-1, 30).astype("float64")
    np.testing.assert_allclose(mean, rows.mean(axis=0), rtol=1e-9)
    np.testing.assert_allclose(std, rows.std(axis=0), rtol=1e-9)


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
