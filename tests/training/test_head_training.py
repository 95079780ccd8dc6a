"""Training the head on embeddings, linear and with hidden layers."""

import subprocess
import sys

import numpy as np
import pytest

from deepfake import params
from deepfake.common.errors import PipelineError
from deepfake.data import embeddings
from deepfake.models.head import Head
from deepfake.models.whitening import Whitener, width
from deepfake.training import convex_head, head_training, loop, penalty
from deepfake.training.rows import Rows, Scaling, moments

CHANNELS = [3, 4]


def test_untrained_head_says_one_half():
    head = Head.untrained(4, [8])
    assert head.hidden == [8]
    assert head.scores(np.ones((3, 2, 4), "f")).tolist() == [0.5, 0.5, 0.5]


@pytest.mark.slow
def test_training_a_head_does_not_load_tensorflow():
    code = (
        "import sys; from deepfake.training import head_training, loop; "
        "from deepfake.models import keras_archive; "
        "from deepfake.tracking import experiment_rows; "
        "from deepfake.evaluation import metrics, comparison; from deepfake.metadata import table; "
        "from deepfake.ingest import ingest; from deepfake.inference import openvino_engine; "
        "assert not {'tensorflow', 'keras', 'mlflow'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def table(count, seed, dimensions=30):
    """Two views of `count` examples whose first feature tells the classes apart, with noise."""
    rng = np.random.default_rng(seed)
    labels = (np.arange(count) % 2).astype("int8")
    features = rng.normal(size=(count, 2, dimensions)).astype("float32") * 3 + 10
    features[:, :, 0] += labels[:, None] * 4
    return embeddings.Embeddings(labels, features)


def covariances(count, seed):
    """Two views of `count` examples with means and covariances of two layers; fakes vary more."""
    rng = np.random.default_rng(seed)
    labels = (np.arange(count) % 2).astype("int8")
    features = np.empty((count, 2, sum(map(width, CHANNELS))), "float32")
    for number, label in enumerate(labels):
        for view in range(2):
            blocks = []
            for size in CHANNELS:
                mixed = rng.normal(size=(50, size)) * (1 + 0.3 * label) @ (np.eye(size) + 0.7)
                blocks += [
                    mixed.mean(axis=0),
                    np.cov(mixed.T, bias=True)[np.triu_indices(size)],
                ]
            features[number, view] = np.concatenate(blocks)
    return embeddings.Embeddings(labels, features)


@pytest.fixture
def linear():
    return params.load().train.model_copy(update={"hidden": [], "weight_decay": 0.05})


@pytest.fixture
def dense():
    settings = params.load().train
    return settings.model_copy(
        update={"epochs": 12, "patience": 12, "batch_size": 16, "hidden": [8], "dropout": 0.3}
    )


def train_head(params, work, on_epoch=lambda row: None, channels=()):
    work.mkdir(exist_ok=True)
    make = covariances if channels else table
    return head_training.train_head(
        make(200, 1), make(60, 2), params, channels=channels, seed=5, work=work, on_epoch=on_epoch
    )


def exact(train, decay):
    """Rows and scikit-learn's solution for them."""
    from sklearn.linear_model import LogisticRegression

    mean, std = moments(train.features, Whitener())
    rows = (train.features.reshape(-1, train.features.shape[-1]) - mean) / std
    model = LogisticRegression(C=1 / (decay * len(rows)), tol=1e-10, max_iter=10_000)
    return model.fit(rows, np.repeat(train.labels, 2)), mean, std


def test_linear_head_is_the_regularised_optimum(linear, tmp_path):
    model, mean, std = exact(table(200, 1), 0.05)
    trained = train_head(linear, tmp_path)
    np.testing.assert_allclose(trained.kernels[0][:, 0], model.coef_[0], atol=1e-5)
    valid = table(60, 2).features
    wanted = model.decision_function((valid.reshape(-1, 30) - mean) / std)
    np.testing.assert_allclose(
        trained.head.averaged(valid), wanted.reshape(-1, 2).mean(axis=1), atol=1e-4
    )


def test_history_of_a_linear_head_has_powers_of_two_and_the_last(linear, tmp_path):
    rows = []
    trained = train_head(linear, tmp_path, rows.append)
    numbers = [row["epoch"] for row in rows]
    assert numbers[:3] == [1, 2, 4]
    assert numbers[-1] == trained.state.best_epoch
    assert all(n & (n - 1) == 0 for n in numbers[:-1])
    assert rows[-1]["train_loss"] < rows[0]["train_loss"]
    assert rows[-1]["valid_roc_auc"] == trained.state.best_roc_auc > 0.65


def test_blocks_of_any_size_lead_to_the_same_optimum(linear, tmp_path, monkeypatch):
    whole = train_head(linear, tmp_path / "whole")
    monkeypatch.setattr(embeddings, "BLOCK_BYTES", 30 * 2 * 30 * 4)
    blocks = train_head(linear, tmp_path / "blocks")
    np.testing.assert_allclose(whole.kernels[0], blocks.kernels[0], atol=2e-5)


def test_a_head_that_does_not_converge_is_refused(linear, tmp_path, monkeypatch):
    monkeypatch.setattr(convex_head, "MOST_ITERATIONS", 3)
    with pytest.raises(PipelineError, match=r"within 3 iterations .*0\.05: give a larger"):
        train_head(linear, tmp_path)
    assert list(tmp_path.iterdir()) == []  # the rows are large


def test_head_on_whitened_covariances_scores_raw_ones(linear, tmp_path):
    trained = train_head(linear, tmp_path, channels=CHANNELS)
    raw = covariances(60, 2).features
    rows = trained.scaling(raw.reshape(-1, raw.shape[-1]))
    wanted = (rows @ trained.kernels[0] + trained.biases[0]).reshape(-1, 2).mean(axis=1)
    np.testing.assert_allclose(trained.head.averaged(raw), wanted, atol=1e-4)
    assert trained.state.best_roc_auc > 0.8


@pytest.mark.slow
@pytest.mark.parametrize("batch_norm", [False, True])
def test_dense_head_scores_as_keras_does(dense, tmp_path, batch_norm):
    params = dense.model_copy(update={"batch_norm": batch_norm, "hidden": [8, 5]})
    trained = train_head(params, tmp_path, channels=CHANNELS)
    assert trained.head.hidden == [8, 5]
    raw = covariances(60, 2).features
    as_keras = trained.as_keras(0.0)
    found = np.asarray(as_keras(raw.reshape(-1, raw.shape[-1]))).reshape(-1, 2).mean(axis=1)
    np.testing.assert_allclose(trained.head.averaged(raw), found, atol=1e-4)
    _, roc_auc = loop.measured(covariances(60, 2).labels, found)
    assert roc_auc == pytest.approx(trained.state.best_roc_auc, abs=1e-6)
    again = trained.with_weights(as_keras).head
    for one, two in zip(again.weights, trained.head.weights, strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.slow
def test_dense_head_keeps_its_best_epoch(dense, tmp_path):
    rows = []
    trained = train_head(dense, tmp_path, rows.append)
    valid = table(60, 2)
    _, roc_auc = loop.measured(valid.labels, trained.head.averaged(valid.features))
    assert roc_auc == pytest.approx(max(row["valid_roc_auc"] for row in rows))
    assert roc_auc == pytest.approx(trained.state.best_roc_auc)
    assert roc_auc > 0.65


@pytest.mark.slow
def test_epochs_are_one_bar_and_all_of_them_are_reported(dense, tmp_path, capsys):
    rows = []
    train_head(dense, tmp_path, rows.append)
    printed = capsys.readouterr()
    assert [row["epoch"] for row in rows] == list(range(1, 13))
    assert printed.out == ""
    last = printed.err.strip().split("\r")[-1]
    assert last.startswith("head 12/12")
    assert f"loss {rows[-1]['train_loss']:.3f}/{rows[-1]['valid_loss']:.3f}" in last
    assert f"ROC-AUC {rows[-1]['train_roc_auc']:.3f}/{rows[-1]['valid_roc_auc']:.3f}" in last


@pytest.mark.slow
def test_after_early_stopping_nothing_is_left_of_the_bar(dense, tmp_path, capsys):
    params = dense.model_copy(update={"epochs": 200, "patience": 1})
    number = len(train_head(params, tmp_path).state.history)
    assert number < 200
    assert f"head {number}/{number}" in capsys.readouterr().err


@pytest.mark.slow
def test_killed_training_continues_to_the_same_weights(dense, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "_CHECKPOINT_SECONDS", 0.0)
    dense = dense.model_copy(update={"batch_norm": True})
    undisturbed = train_head(dense, tmp_path / "one").head

    class Killed(Exception):
        pass

    rows = []

    def stop_after_seven(row):
        rows.append(row)
        if len(rows) == 7:
            raise Killed

    with pytest.raises(Killed):
        train_head(dense, tmp_path / "two", stop_after_seven)
    assert (tmp_path / "two" / "head.npz").exists()
    rows.clear()
    continued = train_head(dense, tmp_path / "two", rows.append).head
    assert len(rows) == 12
    for one, two in zip(undisturbed.weights, continued.weights, strict=True):
        np.testing.assert_array_equal(one, two)


def test_diverged_training_says_so():
    with pytest.raises(PipelineError, match="lower learning_rate"):
        loop.measured(np.array([0, 1]), np.array([0.0, np.nan]))


def test_moments_are_those_of_all_rows_in_any_number_of_parts(monkeypatch):
    features = table(50, 3).features
    monkeypatch.setattr(embeddings, "PART_BYTES", 7 * features[0].nbytes)
    mean, std = moments(features, Whitener())
    rows = features.reshape(-1, 30).astype("float64")
    np.testing.assert_allclose(mean, rows.mean(axis=0), rtol=1e-9)
    np.testing.assert_allclose(std, rows.std(axis=0), rtol=1e-9)


def test_constant_feature_is_not_amplified():
    features = np.full((6, 1, 2), 5.0, "f")
    features[:, 0, 0] += np.float32(1e-7) * np.arange(6)
    features[:, 0, 1] += [-2, 2, -2, 2, -2, 2]
    mean, std = moments(features, Whitener())
    assert std.tolist() == pytest.approx([1.0, 2.0])
    assert mean.tolist() == pytest.approx([5.0, 5.0])


@pytest.mark.parametrize("images", [1, 7, 49, 1000])
def test_blocks_hold_all_rows_whatever_their_parts(monkeypatch, tmp_path, images):
    made = table(50, 3)
    scaling = Scaling.fit(made.features, Whitener())
    wanted = scaling(made.features.reshape(-1, 30))
    monkeypatch.setattr(embeddings, "BLOCK_BYTES", 20 * made.features[0].nbytes)
    monkeypatch.setattr(embeddings, "PART_BYTES", images * made.features[0].nbytes)
    rows = Rows(scaling, made.features, tmp_path / "rows")
    assert len(rows.places) == 3
    np.testing.assert_array_equal(np.concatenate([rows[number] for number in range(3)]), wanted)
    assert [place.stop for place, _ in rows.blocks()] == [40, 80, 100]
    assert rows.shape == (100, 30)


def test_penalty_is_the_one_with_the_least_loss_of_images_left_out(linear, tmp_path):
    params = linear.model_copy(update={"weight_decay": "auto"})
    trained = train_head(params, tmp_path)
    table = trained.penalties
    assert sorted(table["weight_decay"]) == sorted(penalty.GRID)
    best = table.loc[table["log_loss"].idxmin(), "weight_decay"]
    assert trained.weight_decay == best
    losses = table.set_index("weight_decay")["log_loss"]
    assert losses[0.3] > losses[best] + 0.01  # too strong for features that tell the classes apart


def test_folds_have_equal_shares_of_both_classes():
    labels = np.array([0] * 25 + [1] * 50)
    folds = penalty.stratified(labels, 3)
    for fold in range(penalty.FOLDS):
        assert np.bincount(labels[folds == fold]).tolist() == [5, 10]
    assert (folds != penalty.stratified(labels, 4)).any()


def test_altered_versions_of_an_image_do_not_judge_a_penalty(tmp_path):
    features = table(100, 3).features.copy()
    features[:, 1] = np.random.default_rng(5).normal(10, 100, features[:, 1].shape)  # useless
    rows = Rows(Scaling.fit(features, Whitener()), features, tmp_path / "rows")
    labels, ones = (np.arange(100) % 2).astype("int8"), np.ones(100)
    _, of_originals = penalty.cross_validated(rows, labels, ones, 0, scored=1, grid=[0.1])
    _, of_both = penalty.cross_validated(rows, labels, ones, 0, scored=2, grid=[0.1])
    assert of_originals["roc_auc"][0] > of_both["roc_auc"][0] + 0.02


def test_a_head_that_nothing_bounds_is_refused(tmp_path):
    features = np.random.default_rng(0).normal(size=(60, 1, 100)).astype("float32")
    rows = Rows(Scaling.fit(features, Whitener()), features, tmp_path / "rows")
    labels = (np.arange(60) % 2).astype("int8")
    with pytest.raises(PipelineError, match=r"train\.weight_decay: received 0, and the classes"):
        convex_head.solve(rows, labels, np.ones(60), 0.0)
    labels[:2] = 1 - labels[:2]
    features[:2] = features[2:4]  # the same images with other labels: no kernel separates them
    rows = Rows(Scaling.fit(features, Whitener()), features, tmp_path / "rows")
    assert np.isfinite(convex_head.solve(rows, labels, np.ones(60), 0.0)).all()


@pytest.mark.slow
def test_two_numbers_of_threads_meet_at_the_same_optimum(python, tmp_path):
    code = (
        "import sys, numpy as np; from pathlib import Path\n"
        "from deepfake.models.whitening import Whitener\n"
        "from deepfake.training import convex_head\n"
        "from deepfake.training.rows import Rows, Scaling\n"
        "drawn = np.random.default_rng(0)\n"
        "features = drawn.normal(size=(400, 2, 3000)).astype('float32')\n"
        "labels = (np.arange(400) % 2).astype('int8')\n"
        "features[:, :, :50] += 0.2 * labels[:, None, None]\n"
        "rows = Rows(Scaling.fit(features, Whitener()), features, Path(sys.argv[1] + '.rows'))\n"
        "found = convex_head.solve(rows, labels.repeat(2), np.ones(800), 0.001)\n"
        "np.save(sys.argv[1], convex_head.logits(rows, found))\n"
    )
    scores = []
    for threads in ("1", "2"):
        command, environment = python(code, tmp_path / threads, OPENBLAS_NUM_THREADS=threads)
        subprocess.run(command, env=environment, check=True)
        scores.append(1 / (1 + np.exp(-np.load(tmp_path / f"{threads}.npy"))))
    assert np.abs(scores[0] - scores[1]).max() < 1e-4
    assert scores[0].std() > 0.1


def test_dropout_drops_other_units_in_each_layer_step_and_epoch():
    import keras

    pixels = keras.Input((64,))
    first = keras.layers.Dropout(0.5)
    inner = keras.Sequential([keras.Input((64,)), keras.layers.Dropout(0.5)])
    network = keras.Model(pixels, [first(pixels), inner(first(pixels) * 0 + 1)])
    ones, masks = np.ones((1, 64), "float32"), []
    for epoch in range(3):
        loop.reseed(network, 5, epoch)
        for _ in range(4):
            masks += [np.asarray(one) > 0 for one in network(ones, training=True)]
    assert len({mask.tobytes() for mask in masks}) == 3 * 4 * 2
    loop.reseed(network, 5, 1)
    again = [np.asarray(one) > 0 for one in network(ones, training=True)]
    np.testing.assert_array_equal(again, masks[8:10])


def test_cross_validation_needs_an_image_of_each_class_in_each_fold():
    labels = np.array([0] * 20 + [1] * 2)
    with pytest.raises(PipelineError, match="auto needs 5 images of each class in train"):
        penalty.cross_validated(None, labels, np.ones(22), 0, scored=1)
