"""Both models in each metric, and the bootstrap interval."""

import math
from statistics import NormalDist

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from deepfake.common.errors import PipelineError
from deepfake.evaluation import comparison, predictions, ranking
from deepfake.evaluation.comparison import LOSSES, side_by_side
from deepfake.evaluation.metrics import METRICS

BASELINE = {name: 0.5 + number / 1000 for number, name in enumerate(METRICS)}
IMAGE = {name: 0.9 + number / 1000 for number, name in enumerate(METRICS)}


def test_both_models_stand_side_by_side_in_every_metric() -> None:
    table = side_by_side(BASELINE, IMAGE)
    assert tuple(table) == METRICS
    assert all(table[n] == {"baseline": BASELINE[n], "image": IMAGE[n]} for n in METRICS)


def test_losses_are_those_metrics_that_a_worse_model_raises() -> None:
    assert set(LOSSES) == {"log_loss", "brier", "eer", "ece"}


def table(labels: list[int] | np.ndarray, values: list[float] | np.ndarray) -> pd.DataFrame:
    ids = [f"id{number}" for number in range(len(labels))]
    values = np.asarray(values, dtype=float)
    return predictions.predictions(ids, np.asarray(labels), values, ids)


def two_models(
    generator: np.random.Generator, each: int, first: float, second: float
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Predictions of two models on `each` reals and fakes, with true ROC-AUC Phi(d / sqrt 2);
    what they see of an image is correlated."""
    labels = np.repeat([0, 1], each)
    shared = generator.normal(size=2 * each)

    def model(distance: float) -> pd.DataFrame:
        own = generator.normal(size=2 * each)
        values = distance * labels + np.sqrt(0.5) * (shared + own)
        return table(labels, 1 / (1 + np.exp(-values)))

    return model(first), model(second)


def interval(first: pd.DataFrame, second: pd.DataFrame, **changes: float) -> dict[str, float]:
    settings = {"samples": 200, "confidence": 0.95, "seed": 0} | changes
    return comparison.bootstrap_difference(first, second, **settings)  # type: ignore[arg-type]


def test_the_interval_depends_on_the_seed_alone() -> None:
    models = two_models(np.random.default_rng(0), 50, 0.5, 1.0)
    assert interval(*models) == interval(*models)
    assert interval(*models)["low"] != interval(*models, seed=1)["low"]


def test_the_difference_is_second_minus_first() -> None:
    first, second = two_models(np.random.default_rng(0), 200, 0.2, 2.0)
    found = interval(first, second)
    aucs = [roc_auc_score(t["label"], t["score"]) for t in (first, second)]
    assert found["difference"] == pytest.approx(aucs[1] - aucs[0])
    assert 0 < found["low"] < found["difference"] < found["high"] < 1
    swapped = interval(second, first)
    assert swapped["difference"] == -found["difference"]
    assert (swapped["low"], swapped["high"]) == pytest.approx((-found["high"], -found["low"]))


def test_more_confidence_means_a_wider_interval() -> None:
    models = two_models(np.random.default_rng(0), 50, 0.5, 1.0)
    narrow, wide = interval(*models, confidence=0.5), interval(*models, confidence=0.99)
    assert wide["low"] < narrow["low"] < narrow["high"] < wide["high"]


def test_all_of_the_samples_asked_for_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[int] = []
    fast = ranking.weighted_roc_auc

    def counting(labels: np.ndarray, ranks: np.ndarray, times: np.ndarray) -> float:
        drawn.append(1)
        assert times[labels == 1].sum() == (labels == 1).sum()
        assert times[labels == 0].sum() == (labels == 0).sum()
        return fast(labels, ranks, times)

    monkeypatch.setattr(ranking, "weighted_roc_auc", counting)
    interval(*two_models(np.random.default_rng(0), 30, 0.5, 1.0), samples=250)
    assert sum(drawn) == 2 * 250 + 2  # and once each for what the interval is about


def test_a_model_does_not_differ_from_itself() -> None:
    model, _ = two_models(np.random.default_rng(0), 50, 0.5, 1.0)
    assert interval(model, model) == {"difference": 0, "low": 0, "high": 0}


@pytest.mark.slow
def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(20)
    truth = NormalDist().cdf(1.0 / math.sqrt(2)) - NormalDist().cdf(0.5 / math.sqrt(2))
    held = 0
    for trial in range(200):
        found = interval(*two_models(generator, 80, 0.5, 1.0), seed=trial)
        held += found["low"] <= truth <= found["high"]
    assert 0.91 <= held / 200 <= 0.99


def test_models_scored_on_different_images_are_not_compared() -> None:
    first, second = two_models(np.random.default_rng(0), 20, 0.5, 1.0)
    for other in (second[::-1], second.iloc[1:], second.assign(image_id="another")):
        with pytest.raises(PipelineError, match="different images"):
            interval(first, other)


def test_one_class_alone_is_not_compared() -> None:
    with pytest.raises(PipelineError, match="one class only"):
        interval(table([1, 1], [0.1, 0.2]), table([1, 1], [0.3, 0.4]))
