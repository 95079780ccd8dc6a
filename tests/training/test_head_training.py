"""The head: its arithmetic, and its training on embeddings."""

import subprocess
import sys

import numpy as np
import pytest

from deepfake import params
from deepfake.common.errors import PipelineError
from deepfake.data import embeddings
from deepfake.models.head import Head, moments, standardisation
from deepfake.training import head_training, loop
from deepfake.training.head_training import Adam, gradients

ADAM = [[0.900001, -2.0999961], [0.8733676, -2.1999929], [0.8075567, -2.2999907]]


def test_untrained_head_says_one_half():
    head = Head.create(np.zeros(4, "f"), np.ones(4, "f"), [8], np.random.default_rng(0))
    assert head.hidden == [8]
    assert head.scores(np.ones((3, 2, 4), "f")).tolist() == [0.5, 0.5, 0.5]


@pytest.fixture
def trained():
    """A head with two hidden layers, and a batch for it."""
    rng = np.random.default_rng(3)
    moments = rng.normal(size=6).astype("f"), rng.uniform(0.5, 2, 6).astype("f")
    head = Head.create(*moments, [5, 4], rng)
    for weight in head.weights:
        weight[:] = rng.normal(size=weight.shape) * 0.7
    x = rng.normal(size=(20, 6)).astype("f")
    return head, x, (np.arange(20) % 2).astype("f"), rng.uniform(0.5, 2, 20).astype("f")


def loss(head, x, y, weights, decay):
    signed = np.where(y > 0, -1, 1) * head.logits(x).astype("float64")
    squares = sum(float((kernel.astype("float64") ** 2).sum()) for kernel in head.kernels)
    return float((weights * np.logaddexp(0, signed)).mean()) + decay / 2 * squares


def test_gradients_are_the_slopes_of_the_loss(trained):
    head, x, y, weights = trained
    logits, slopes = gradients(
        head,
        head.standardised(x),
        y,
        weights,
        weight_decay=0.1,
        dropout=0.0,
        generator=np.random.default_rng(0),
    )
    np.testing.assert_allclose(logits, head.logits(x), rtol=1e-6)
    for weight, gradient in zip(head.weights, slopes, strict=True):
        assert gradient.shape == weight.shape
        for place in list(np.ndindex(weight.shape))[:8]:
            kept = weight[place]
            ends = []
            for step in (1e-2, -1e-2):
                weight[place] = kept + step
                ends.append(loss(head, x, y, weights, 0.1))
            weight[place] = kept
            slope = (ends[0] - ends[1]) / 2e-2
            assert slope == pytest.approx(float(gradient[place]), abs=2e-3)


def test_dropout_leaves_out_a_share_and_keeps_the_mean(trained):
    head, x, y, weights = trained
    generator, batch = np.random.default_rng(1), head.standardised(x)
    seen = np.stack(
        [
            gradients(head, batch, y, weights, weight_decay=0, dropout=0.3, generator=generator)[0]
            for _ in range(4000)
        ]
    )
    assert seen.std(axis=0).min() > 0.1
    # Of the last hidden layer the logit is linear, so that only the first bends the mean.
    assert np.abs(seen.mean(axis=0) - head.logits(x)).mean() < 0.3 * seen.std(axis=0).mean()


def test_adam_takes_keras_s_steps():
    """Reference values of keras.optimizers.Adam(0.1) on gradients 1, -0.5 and 2 at two places."""
    weights = [np.array([1.0, -2.0], "f")]
    optimizer = Adam(weights)
    seen = []
    for gradient in ([1.0, 0.1], [-0.5, 0.1], [2.0, 0.1]):
        optimizer.apply([np.array(gradient, "f")], 0.1)
        seen.append(weights[0].copy())
    np.testing.assert_allclose(seen, ADAM, atol=1e-5)


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


def test_constant_feature_is_not_amplified():
    mean, variance = standardisation(np.array([5.0, 1.0]), np.array([1e-7, 2.0]))
    assert variance.tolist() == [1.0, 4.0]
    assert mean.tolist() == [5.0, 1.0]


def table(count, seed, dimensions=30):
    """Two views of `count` examples whose first feature tells the classes apart, with noise."""
    rng = np.random.default_rng(seed)
    labels = (np.arange(count) % 2).astype("int8")
    features = rng.normal(size=(count, 2, dimensions)).astype("float32") * 3 + 10
    features[:, :, 0] += labels[:, None] * 4
    return embeddings.Embeddings(labels, features)


@pytest.fixture
def train_params():
    settings = params.load().train
    return settings.model_copy(
        update={"epochs": 12, "patience": 12, "batch_size": 16, "hidden": [8], "dropout": 0.3}
    )


def train_head(params, work, on_epoch=lambda row: None):
    return head_training.train_head(
        table(200, 1), table(60, 2), params, seed=5, work=work, on_epoch=on_epoch
    )


def test_head_learns_and_keeps_its_best_epoch(train_params, tmp_path):
    rows = []
    head, state = train_head(train_params, tmp_path, rows.append)
    valid = table(60, 2)
    _, roc_auc = loop.measured(valid.labels, head.averaged(valid.features))
    assert roc_auc == pytest.approx(max(row["valid_roc_auc"] for row in rows))
    assert roc_auc == pytest.approx(state.best_roc_auc)
    assert roc_auc > 0.65


def test_epochs_are_one_bar_and_all_of_them_are_reported(train_params, tmp_path, capsys):
    rows = []
    train_head(train_params, tmp_path, rows.append)
    printed = capsys.readouterr()
    assert [row["epoch"] for row in rows] == list(range(1, 13))
    assert printed.out == ""
    last = printed.err.strip().split("\r")[-1]
    assert last.startswith("head 12/12")
    assert f"loss {rows[-1]['train_loss']:.3f}/{rows[-1]['valid_loss']:.3f}" in last
    assert f"ROC-AUC {rows[-1]['train_roc_auc']:.3f}/{rows[-1]['valid_roc_auc']:.3f}" in last
    assert len(printed.err.strip().split("\r")) <= 3


def test_after_early_stopping_nothing_is_left_of_the_bar(train_params, tmp_path, capsys):
    params = train_params.model_copy(update={"epochs": 200, "patience": 1})
    _, state = train_head(params, tmp_path)
    number = len(state.history)
    assert number < 200
    assert f"head {number}/{number}" in capsys.readouterr().err


def test_linear_head_reaches_the_regularised_optimum(train_params, tmp_path):
    from sklearn.linear_model import LogisticRegression

    train, decay = table(200, 1), 0.05
    params = train_params.model_copy(
        update={"hidden": [], "weight_decay": decay, "epochs": 150, "patience": 150,
                "learning_rate": 0.01}
    )  # fmt: skip
    _, state = train_head(params, tmp_path)
    mean, std = moments(train.features)
    rows = (train.features.reshape(-1, 30) - mean) / std
    exact = LogisticRegression(C=1 / (decay * len(rows)), tol=1e-8).fit(
        rows, np.repeat(train.labels, 2)
    )
    logits = exact.decision_function(
        (table(60, 2).features.reshape(-1, 30) - mean) / std
    ).reshape(-1, 2).mean(axis=1)  # fmt: skip
    final = state.history[-1]
    assert final["valid_roc_auc"] == pytest.approx(
        loop.measured(table(60, 2).labels, logits)[1], abs=0.005
    )
    assert final["valid_loss"] == pytest.approx(
        loop.measured(table(60, 2).labels, logits)[0], abs=0.005
    )


def test_killed_training_continues_to_the_same_weights(train_params, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "_CHECKPOINT_SECONDS", 0.0)
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
    for one, two in zip(undisturbed.weights, continued.weights, strict=True):
        np.testing.assert_array_equal(one, two)


def test_diverged_training_says_so():
    with pytest.raises(PipelineError, match="lower learning_rate"):
        loop.measured(np.array([0, 1]), np.array([0.0, np.nan]))


def test_moments_are_those_of_all_rows_in_any_number_of_parts(monkeypatch):
    features = table(50, 3).features
    monkeypatch.setattr(embeddings, "PART_BYTES", 7 * features[0].nbytes)
    mean, std = moments(features)
    rows = features.reshape(-1, 30).astype("float64")
    np.testing.assert_allclose(mean, rows.mean(axis=0), rtol=1e-9)
    np.testing.assert_allclose(std, rows.std(axis=0), rtol=1e-9)


@pytest.mark.parametrize("images", [1, 7, 49, 1000])
def test_blocks_hold_all_rows_whatever_their_parts(monkeypatch, images):
    made = table(50, 3)
    head = Head.create(*standardisation(*moments(made.features)), [], np.random.default_rng(0))
    wanted = head.standardised(made.features.reshape(-1, 30))
    monkeypatch.setattr(embeddings, "BLOCK_BYTES", 20 * made.features[0].nbytes)
    monkeypatch.setattr(embeddings, "PART_BYTES", images * made.features[0].nbytes)
    blocks = head_training.StandardisedBlocks(head, made.features)
    assert len(blocks.places) == 3
    found = [blocks[number] for number in range(3)]
    np.testing.assert_array_equal(np.concatenate(found), wanted)
    np.testing.assert_allclose(
        head.averaged(made.features),
        head.logits(made.features.reshape(-1, 30)).reshape(50, 2).mean(axis=1),
        rtol=1e-6,
    )
