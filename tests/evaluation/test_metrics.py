"""Metrics, curves and intervals against hand calculations and independent formulas."""

import math
from statistics import NormalDist

import numpy as np
import pandas as pd
import pytest

from deepfake.evaluation import metrics, predictions


def table(labels: list[int] | np.ndarray, values: list[float] | np.ndarray) -> pd.DataFrame:
    ids = [f"id{number}" for number in range(len(labels))]
    values = np.asarray(values, dtype=float)
    return predictions.predictions(ids, np.asarray(labels), values, ids)


# Called fake at 0.5: rows 1, 3, 5: two of three fakes, one of three reals.
LABELS = [0, 0, 0, 1, 1, 1]
SCORES = [0.1, 0.6, 0.3, 0.8, 0.3, 0.9]


def pairs_won(labels: np.ndarray, values: np.ndarray) -> float:
    """ROC-AUC as its definition says: pairs where the fake scores higher, ties by half."""
    gaps = values[labels == 1][:, np.newaxis] - values[labels == 0]
    return float(np.mean((gaps > 0) + 0.5 * (gaps == 0)))


def summed_precision(labels: np.ndarray, values: np.ndarray) -> float:
    """Average precision: at every distinct threshold, the gain in recall times precision."""
    total, recall = 0.0, 0.0
    for threshold in sorted(set(values), reverse=True):
        called = values >= threshold
        gained = labels[called].sum() / labels.sum()
        total += (gained - recall) * labels[called].mean()
        recall = gained
    return total


def test_the_metrics_come_in_their_order() -> None:
    assert tuple(metrics.evaluate(table(LABELS, SCORES), 0.5)) == metrics.METRICS


def test_metrics_at_the_threshold_by_hand() -> None:
    found = metrics.evaluate(table(LABELS, SCORES), 0.5)
    assert found["accuracy"] == pytest.approx(4 / 6)
    assert found["precision"] == pytest.approx(2 / 3)
    assert found["recall"] == pytest.approx(2 / 3)
    assert found["specificity"] == pytest.approx(2 / 3)
    assert found["f1"] == pytest.approx(2 / 3)


def test_a_score_at_the_threshold_is_called_fake() -> None:
    assert metrics.evaluate(table(LABELS, SCORES), 0.8)["recall"] == pytest.approx(2 / 3)
    assert metrics.evaluate(table(LABELS, SCORES), 0.800001)["recall"] == pytest.approx(1 / 3)


def test_metrics_without_a_threshold_by_hand() -> None:
    found = metrics.evaluate(table(LABELS, SCORES), 0.5)
    # Fakes 0.8 and 0.9 beat all three reals; 0.3 beats 0.1 and ties with 0.3.
    assert found["roc_auc"] == pytest.approx((3 + 3 + 1.5) / 9)
    # Recall 1/3, 2/3 at precision 1, then both 0.3 at once: precision 3/5.
    assert found["average_precision"] == pytest.approx(1 / 3 + 1 / 3 + 1 / 3 * 3 / 5)
    likelihood = [0.9, 0.4, 0.7, 0.8, 0.3, 0.9]
    assert found["log_loss"] == pytest.approx(-sum(map(math.log, likelihood)) / 6)
    assert found["brier"] == pytest.approx((0.01 + 0.36 + 0.09 + 0.04 + 0.49 + 0.01) / 6)


@pytest.mark.parametrize("seed", range(5))
def test_ranking_metrics_follow_their_definitions_on_many_ties(seed: int) -> None:
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 2, 80)
    values = generator.integers(0, 8, 80) / 8
    found = metrics.evaluate(table(labels, values), 0.5)
    assert found["roc_auc"] == pytest.approx(pairs_won(labels, values))
    assert found["average_precision"] == pytest.approx(summed_precision(labels, values))


def test_log_loss_of_certain_scores_is_finite() -> None:
    assert metrics.evaluate(table([0, 1], [0, 1]), 0.5)["log_loss"] == pytest.approx(0, abs=1e-9)
    wrong = metrics.evaluate(table([0, 1], [1, 0]), 0.5)["log_loss"]
    assert 10 < wrong < 1000


@pytest.mark.parametrize(
    ("labels", "values", "expected"),
    [
        ([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9], 0.0),
        ([0, 0, 1, 1], [0.8, 0.9, 0.1, 0.2], 1.0),
        ([0, 0, 1, 1], [0.5, 0.5, 0.5, 0.5], 0.5),
        ([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8], 0.5),
        # The curve runs from (0, 1/2) to (1/2, 1) and meets fnr = fpr half way.
        ([0, 0, 1, 1], [0.2, 0.5, 0.5, 0.8], 0.25),
        # From (0, 0) to (1/4, 1): 4 f = 1 - f.
        ([0, 0, 0, 0, 1], [0.1, 0.1, 0.1, 0.7, 0.7], 0.2),
    ],
)
def test_equal_error_rate_on_known_curves(
    labels: list[int], values: list[float], expected: float
) -> None:
    found = metrics.equal_error_rate(np.array(labels), np.array(values))
    assert found == pytest.approx(expected)


def test_equal_error_rate_of_two_normal_distributions() -> None:
    generator = np.random.default_rng(0)
    labels = np.repeat([0, 1], 50_000)
    values = generator.normal(labels * 2.0)
    expected = NormalDist().cdf(-1)
    assert metrics.equal_error_rate(labels, values) == pytest.approx(expected, abs=0.005)


@pytest.mark.parametrize(
    ("labels", "values", "expected"),
    [
        # Two bins: (0.1, share 0.5) and (0.9, share 1), two images each.
        ([0, 1, 1, 1], [0.1, 0.1, 0.9, 0.9], (2 * 0.4 + 2 * 0.1) / 4),
        # Both in the last bin, which holds 1 too: mean 0.975, share 0.5.
        ([1, 0], [1.0, 0.95], 0.475),
        # Unequal bins: three images at 0.2 with share 1/3, one at 0.7 with share 0.
        ([0, 0, 1, 0], [0.2, 0.2, 0.2, 0.7], (3 * (1 / 3 - 0.2) + 0.7) / 4),
        # The last two bins meet at 14/15.
        ([1, 0], [0.93, 0.94], (0.07 + 0.94) / 2),
        ([0, 1], [0.0, 1.0], 0.0),
        ([0, 1], [1.0, 0.0], 1.0),
    ],
)
def test_calibration_error_by_hand(labels: list[int], values: list[float], expected: float) -> None:
    found = metrics.expected_calibration_error(np.array(labels), np.array(values))
    assert found == pytest.approx(expected)


def test_calibration_bins_do_not_mix() -> None:
    # 1/15 begins the second bin: together the two would cancel.
    values = np.array([1 / 15 - 1e-6, 1 / 15 + 1e-6])
    found = metrics.expected_calibration_error(np.array([1, 0]), values)
    assert found == pytest.approx((1 - 1 / 15 + 1 / 15) / 2, abs=1e-5)


def test_calibrated_scores_have_nearly_no_calibration_error() -> None:
    generator = np.random.default_rng(0)
    values = generator.uniform(size=50_000)
    labels = (generator.uniform(size=50_000) < values).astype(int)
    assert metrics.expected_calibration_error(labels, values) < 0.02
    assert metrics.expected_calibration_error(labels, values**3) > 0.2


@pytest.mark.parametrize("label", [0, 1])
@pytest.mark.filterwarnings("ignore:No positive class found")
def test_with_one_class_only_every_metric_is_a_number(label: int) -> None:
    found = metrics.evaluate(table([label] * 3, [0.2, 0.6, 0.7]), 0.5)
    assert all(0 <= value <= 1 for value in found.values())
    assert found["roc_auc"] == found["eer"] == 0.5
    assert found["accuracy"] == pytest.approx(2 / 3 if label else 1 / 3)
    assert found["average_precision"] == label
    if not label:
        assert found["precision"] == found["recall"] == found["f1"] == 0


@pytest.mark.filterwarnings("error")
def test_when_nothing_is_called_fake_precision_is_zero_without_a_warning() -> None:
    found = metrics.evaluate(table(LABELS, SCORES), 0.95)
    assert found["precision"] == found["recall"] == found["f1"] == 0
    assert found["accuracy"] == 0.5


def test_when_everything_is_called_fake_recall_is_one() -> None:
    found = metrics.evaluate(table(LABELS, SCORES), 0.05)
    assert (found["precision"], found["recall"]) == (0.5, 1)


def test_roc_curve_by_hand() -> None:
    curve = metrics.roc_curve(table([0, 0, 1, 1], [0.1, 0.6, 0.4, 0.8]))
    assert list(curve) == ["fpr", "tpr", "threshold"]
    assert curve.to_numpy().tolist() == [
        [0, 0, 1],
        [0, 0.5, 0.8],
        [0.5, 0.5, 0.6],
        [0.5, 1, 0.4],
        [1, 1, 0.1],
    ]


def test_precision_recall_curve_by_hand() -> None:
    curve = metrics.precision_recall_curve(table([0, 0, 1, 1], [0.1, 0.6, 0.4, 0.8]))
    assert list(curve) == ["recall", "precision", "threshold"]
    rows = curve.to_numpy().tolist()
    assert rows[0] == [1, 0.5, 0.1]
    assert [0.5, 1, 0.8] in rows
    assert rows[-1] == [0, 1, 1]


def test_long_curves_are_thinned_and_keep_their_ends() -> None:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, 20_000)
    predicted = table(labels, generator.uniform(size=20_000))
    for curve, x, ends in (
        (metrics.roc_curve(predicted), "fpr", [0, 1]),
        (metrics.precision_recall_curve(predicted), "recall", [1, 0]),
    ):
        assert len(curve) == metrics.CURVE_POINTS
        assert curve[x].iloc[[0, -1]].tolist() == ends
        assert curve[x].is_monotonic_increasing or curve[x].is_monotonic_decreasing
        assert curve.to_numpy().min() >= 0
        assert curve.to_numpy().max() <= 1


def test_a_thinned_curve_has_nearly_the_area_of_the_whole() -> None:
    generator = np.random.default_rng(1)
    labels = generator.integers(0, 2, 20_000)
    values = NormalDist().cdf  # to [0, 1], keeping the order
    predicted = table(labels, [values(x) for x in generator.normal(labels)])
    curve = metrics.roc_curve(predicted)
    area = np.trapezoid(curve["tpr"], curve["fpr"])
    assert area == pytest.approx(metrics.evaluate(predicted, 0.5)["roc_auc"], abs=1e-3)


def test_short_curves_are_kept_whole() -> None:
    assert len(metrics.roc_curve(table([0, 1] * 3, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]))) == 7


def test_predicted_names_and_the_report_on_them() -> None:
    predicted = table([0, 0, 1], [0.2, 0.5, 0.9])
    names = metrics.predicted_names(predicted, 0.5)
    assert names.to_numpy().tolist() == [["real", "real"], ["real", "fake"], ["fake", "fake"]]
    lines = metrics.classification_report(predicted, 0.5).splitlines()
    assert next(line.split() for line in lines if "real" in line) == [
        "real", "1.000", "0.500", "0.667", "2",
    ]  # fmt: skip
    assert next(line.split() for line in lines if "fake" in line) == [
        "fake", "0.500", "1.000", "0.667", "1",
    ]  # fmt: skip


@pytest.mark.filterwarnings("error")
def test_the_report_lists_both_classes_when_only_one_is_there() -> None:
    report = metrics.classification_report(table([1, 1], [0.9, 0.8]), 0.5)
    assert "real" in report
    assert "fake" in report
