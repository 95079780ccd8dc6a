"""The interval of each metric on the test images."""

from collections.abc import Iterable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deepfake.common.labels import FAKE, REAL
from deepfake.evaluation import metrics, ranking
from deepfake.evaluation.bootstrap import resamples
from deepfake.evaluation.calibration import BINS, bins_of

Interval = dict[str, float]  # `low` and `high`


def of_metrics(
    table: pd.DataFrame, threshold: float, *, samples: int, confidence: float, seed: int
) -> dict[str, Interval]:
    """The interval of each of `metrics.METRICS`, of a model whose training and threshold are given.

    Recall and specificity, which are shares of independent images, have exact intervals; see
    `exact`. The others have those of the percentile bootstrap over the images: the middle
    `confidence` of the metric's values on the samples of `resamples`. The calibration
    error has an interval of its own; see `of_calibration_error`.

    Args:
        table: predictions of both classes.
        threshold: scores from here on are predicted fake.
        samples: number of bootstrap samples.
        confidence: in (0, 1).
        seed: of the samples.
    """
    labels, scores = table["label"].to_numpy(int), table["score"].to_numpy()
    drawn = values(labels, scores, threshold, resamples(labels, samples, seed))
    tail = (1 - confidence) / 2
    found = {}
    for name in metrics.METRICS:
        low, high = np.quantile(drawn[name], [tail, 1 - tail])
        found[name] = {"low": float(low), "high": float(high)}
    found["ece"] = of_calibration_error(labels, scores, found["ece"], samples, tail, seed)
    fake = scores >= threshold
    for name, right in (("recall", fake[labels == FAKE]), ("specificity", ~fake[labels == REAL])):
        found[name] = exact(int(right.sum()), len(right), confidence)
    return found


def of_calibration_error(
    labels: np.ndarray,
    scores: np.ndarray,
    percentiles: Interval,
    samples: int,
    tail: float,
    seed: int,
) -> Interval:
    """The interval of the expected calibration error.

    Chance adds to the error of each bin, whatever its sign, and drawing images again adds once
    more. So the interval is that of the percentiles, reflected at the error (the basic bootstrap,
    Davison and Hinkley 1997, section 5.2). It begins at 0 if a model without any error would have
    as large a one by chance.

    Args:
        labels: shape (n,), 0 or 1.
        scores: shape (n,), in [0, 1].
        percentiles: of the error over the bootstrap samples.
        samples: how often labels are drawn by the scores.
        tail: the share of them that may have a larger error.
        seed: of these labels.
    """
    error = metrics.expected_calibration_error(labels, scores)
    generator, bins = np.random.default_rng(seed), bins_of(scores)
    by_chance = [
        np.abs(np.bincount(bins, scores - (generator.random(len(scores)) < scores))).sum()
        for _ in range(samples)
    ]
    low = max(0.0, 2 * error - percentiles["high"])
    if error * len(scores) <= np.quantile(by_chance, 1 - tail):
        low = 0.0
    return {"low": low, "high": max(error, 2 * error - percentiles["low"])}


def exact(successes: int, trials: int, confidence: float) -> Interval:
    """The exact interval of a share, `successes` of `trials` (Clopper and Pearson 1934)."""
    from scipy.stats import binomtest

    low, high = binomtest(successes, trials).proportion_ci(confidence, method="exact")
    return {"low": float(low), "high": float(high)}


def values(
    labels: np.ndarray, scores: np.ndarray, threshold: float, drawn: Iterable[np.ndarray]
) -> dict[str, NDArray[np.float64]]:
    """Each metric of each sample, as `metrics.evaluate` would compute it.

    Most metrics are sums over the images, so that a product of counts and columns gives them; the
    others come from the ROC curve.

    Args:
        labels: shape (n,), 0 or 1.
        scores: shape (n,), in [0, 1].
        threshold: scores from here on are predicted fake.
        drawn: for each sample, how often it holds each image, (n,). All have as many images of
            each class as `labels`.
    """
    fakes, images = int(labels.sum()), len(labels)
    columns, ranks = _columns(labels, scores, threshold), ranking.ranks(scores)
    sums, areas = [], []
    for counts in drawn:
        sums.append(counts.astype(float) @ columns)
        areas.append(of_curve(*ranking.weighted_roc(labels, ranks, counts), fakes / images))
    true, false, log_loss, squares, *bins = np.array(sums).T
    roc_auc, average_precision, equal_error_rate = np.array(areas).T
    called = true + false
    return {
        "accuracy": (true + images - fakes - false) / images,
        "precision": np.divide(true, called, out=np.zeros_like(true), where=called > 0),
        "recall": true / fakes,
        "specificity": 1 - false / (images - fakes),
        "f1": 2 * true / (called + fakes),
        "roc_auc": roc_auc,
        "average_precision": average_precision,
        "log_loss": log_loss / images,
        "brier": squares / images,
        "eer": equal_error_rate,
        "ece": np.abs(bins).sum(axis=0) / images,
    }


def _columns(labels: np.ndarray, scores: np.ndarray, threshold: float) -> NDArray[np.float64]:
    """What each image adds to each sum, (n, 4 + `BINS`): true and false positives, log loss and
    squared error; and to the bin of its score, score minus label."""
    fake = scores >= threshold
    # As scikit-learn clips them.
    certain = np.clip(scores, np.finfo(float).eps, 1 - np.finfo(float).eps)
    log_loss = -np.log(np.where(labels == FAKE, certain, 1 - certain))
    gaps = np.zeros((len(labels), BINS))
    gaps[np.arange(len(labels)), bins_of(scores)] = scores - labels
    single = [fake & (labels == FAKE), fake & (labels == REAL), log_loss, (scores - labels) ** 2]
    return np.column_stack([*single, gaps])


def of_curve(fpr: np.ndarray, tpr: np.ndarray, prevalence: float) -> tuple[float, float, float]:
    """ROC-AUC, average precision and equal error rate of a ROC curve; `prevalence`: the share of
    fakes, in (0, 1)."""
    true, false = prevalence * tpr, (1 - prevalence) * fpr
    called = true + false
    precision = np.divide(true, called, out=np.zeros_like(true), where=called > 0)
    average_precision = float((np.diff(tpr) * precision[1:]).sum())
    return float(np.trapezoid(tpr, fpr)), average_precision, metrics.crossing(fpr, tpr)
