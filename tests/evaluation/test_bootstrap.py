"""Bootstrap samples, and the band around a ROC curve."""

from statistics import NormalDist

import numpy as np
import pandas as pd
import pytest

from deepfake.evaluation.bootstrap import RATES, resamples, roc_band


def table(each: int, apart: float, seed: int = 0) -> pd.DataFrame:
    """Scores of `each` reals and fakes, normal and `apart` standard deviations from each other."""
    labels = np.repeat([0, 1], each)
    seen = np.random.default_rng(seed).normal(size=2 * each) + apart * labels
    return pd.DataFrame({"label": labels, "score": [NormalDist().cdf(value) for value in seen]})


def band(predictions: pd.DataFrame, **changes: float) -> pd.DataFrame:
    return roc_band(predictions, **{"samples": 300, "confidence": 0.9, "seed": 3} | changes)


def width(found: pd.DataFrame) -> float:
    return float((found["high"] - found["low"]).mean())


def test_a_sample_has_as_many_images_of_each_class() -> None:
    labels = np.array([0] * 7 + [1] * 3)
    found = np.array(list(resamples(labels, 200, seed=1)))
    assert found[:, labels == 0].sum(axis=1).tolist() == [7] * 200
    assert found[:, labels == 1].sum(axis=1).tolist() == [3] * 200
    assert found.mean(axis=0) == pytest.approx(np.ones(10), abs=0.25)


def test_the_band_follows_the_seed() -> None:
    predictions = table(40, 1)
    assert band(predictions).equals(band(predictions))
    assert not band(predictions).equals(band(predictions, seed=4))


def test_the_band_is_at_each_rate_and_within_the_unit_square() -> None:
    found = band(table(40, 1))
    assert found["fpr"].tolist() == RATES.tolist()
    assert ((found["low"] >= 0) & (found["low"] <= found["high"]) & (found["high"] <= 1)).all()
    assert found.iloc[-1][["low", "high"]].tolist() == [1, 1]


def test_it_grows_with_the_confidence_and_shrinks_with_the_images() -> None:
    assert width(band(table(40, 1), confidence=0.5)) < 0.6 * width(band(table(40, 1)))
    assert width(band(table(640, 1))) < 0.4 * width(band(table(40, 1)))


def test_a_perfect_model_has_no_band() -> None:
    found = band(table(40, 1).assign(score=lambda rows: rows["label"]))
    assert found["low"].tolist() == found["high"].tolist() == [1] * len(RATES)


def test_scores_that_are_all_equal_are_the_diagonal() -> None:
    found = band(table(40, 1).assign(score=0.5))
    assert found["low"].to_numpy() == pytest.approx(RATES, abs=1e-6)
    assert found["high"].to_numpy() == pytest.approx(RATES, abs=1e-6)


def test_it_covers_the_true_curve_as_often_as_it_says() -> None:
    """The true rate at a false positive rate of 0.3, over many data sets."""
    place = int(np.flatnonzero(np.isclose(RATES, 0.3))[0])
    true = NormalDist().cdf(1 + NormalDist().inv_cdf(0.3))
    inside = 0
    for seed in range(60):
        row = band(table(100, 1, seed), samples=100).iloc[place]
        inside += row["low"] <= true <= row["high"]
    assert 0.8 <= inside / 60 <= 0.98
