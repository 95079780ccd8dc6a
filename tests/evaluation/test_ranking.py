"""ROC-AUC as a rank statistic."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score, roc_curve

from deepfake.evaluation import ranking


def test_the_quick_roc_auc_of_resamples_is_that_of_sklearn() -> None:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, 60)
    values = generator.integers(0, 10, 60) / 10
    weights = np.stack([np.bincount(generator.integers(0, 60, 60), minlength=60) for _ in "abcdef"])
    ranks = np.unique(values, return_inverse=True)[1]
    for weight in weights:
        rows = np.repeat(np.arange(60), weight)
        assert ranking.weighted_roc_auc(labels, ranks, weight) == pytest.approx(
            roc_auc_score(labels[rows], values[rows]), abs=1e-12
        )


def test_the_curve_of_a_resample_is_that_of_sklearn() -> None:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, 60)
    values = generator.integers(0, 10, 60) / 10
    rows = generator.integers(0, 60, 60)
    counts = np.bincount(rows, minlength=60)
    fpr, tpr = ranking.weighted_roc(labels, ranking.ranks(values), counts)
    expected = roc_curve(labels[rows], values[rows], drop_intermediate=False)
    assert fpr.tolist() == pytest.approx(expected[0].tolist())
    assert tpr.tolist() == pytest.approx(expected[1].tolist())
