"""The interval of each metric."""

import time

import numpy as np
import pandas as pd
import pytest

from deepfake.evaluation import intervals, metrics
from deepfake.evaluation.bootstrap import resamples
from deepfake.evaluation.predictions import predictions


def table(each: int, seed: int = 0, digits: int = 6) -> pd.DataFrame:
    generator = np.random.default_rng(seed)
    labels = np.repeat([0, 1], [each, 2 * each])
    scores = np.round(generator.beta(1 + labels, 2 - labels), digits)
    names = [str(number) for number in range(len(labels))]
    return predictions(names, labels, scores, names)


@pytest.mark.parametrize("digits", [1, 6])
@pytest.mark.parametrize("threshold", [0.4, 1.0])
def test_each_sample_has_the_metrics_of_its_images(digits: int, threshold: float) -> None:
    given = table(20, digits=digits)
    labels, scores = given["label"].to_numpy(int), given["score"].to_numpy()
    drawn = list(resamples(labels, 5, seed=2))
    found = intervals.values(labels, scores, threshold, drawn)
    assert tuple(found) == metrics.METRICS
    for sample, counts in enumerate(drawn):
        repeated = given.loc[given.index.repeat(counts)]
        for name, value in metrics.evaluate(repeated, threshold).items():
            assert found[name][sample] == pytest.approx(value, abs=1e-12), name


def test_intervals_hold_the_metrics_and_depend_on_the_seed() -> None:
    given = table(40)
    settings = {"samples": 200, "confidence": 0.9}
    found = intervals.of_metrics(given, 0.5, seed=1, **settings)
    assert tuple(found) == metrics.METRICS
    for name, value in metrics.evaluate(given, 0.5).items():
        assert found[name]["low"] < value <= found[name]["high"], name
    assert found == intervals.of_metrics(given, 0.5, seed=1, **settings)
    other = intervals.of_metrics(given, 0.5, seed=2, **settings)
    assert found["roc_auc"] != other["roc_auc"]
    assert found["recall"] == other["recall"]


def test_the_interval_of_a_model_without_calibration_error_comes_near_nothing() -> None:
    generator = np.random.default_rng(0)
    scores = generator.uniform(size=2_000)
    labels = (generator.uniform(size=2_000) < scores).astype(int)
    names = [str(number) for number in range(2_000)]
    given = predictions(names, labels, scores, names)
    found = intervals.of_metrics(given, 0.5, samples=200, confidence=0.95, seed=0)["ece"]
    error = metrics.evaluate(given, 0.5)["ece"]
    assert 0 == found["low"] < error <= found["high"] < 2 * error
    surer = predictions(names, labels, np.clip(1.6 * scores - 0.3, 0, 1), names)
    found = intervals.of_metrics(surer, 0.5, samples=200, confidence=0.95, seed=0)["ece"]
    assert 0.05 < found["low"] < metrics.evaluate(surer, 0.5)["ece"] < found["high"] < 0.2


def test_recall_and_specificity_have_exact_intervals() -> None:
    given = table(30)
    found = intervals.of_metrics(given, 0.5, samples=100, confidence=0.95, seed=0)
    right = int((given.loc[given["label"] == 0, "score"] < 0.5).sum())
    assert found["specificity"] == intervals.exact(right, 30, 0.95)
    right = int((given.loc[given["label"] == 1, "score"] >= 0.5).sum())
    assert found["recall"] == intervals.exact(right, 60, 0.95)


def test_the_exact_interval_is_that_of_the_books() -> None:
    # Without a failure the lower end is the tail to the power of 1 / n.
    assert intervals.exact(20, 20, 0.95) == {"low": pytest.approx(0.025 ** (1 / 20)), "high": 1}
    assert intervals.exact(0, 10, 0.9) == {"low": 0, "high": pytest.approx(1 - 0.05 ** (1 / 10))}


@pytest.mark.slow
def test_many_images_take_seconds() -> None:
    start = time.perf_counter()
    intervals.of_metrics(table(7_000), 0.5, samples=200, confidence=0.95, seed=0)
    assert time.perf_counter() - start < 3
