"""Scores of images, P(fake) in [0, 1], and every number and curve computed from them.

A table of predictions has the columns `image_id`, `label` (0 real, 1 fake) and `score`.
"""

from typing import Any

import numpy as np
import pandas as pd

from deepfake.common.labels import LABEL_NAMES

METRICS = (
    "accuracy",
    "precision",
    "recall",
    "f1",
    "roc_auc",
    "average_precision",
    "log_loss",
    "brier",
    "eer",
    "ece",
)
CALIBRATION_BINS = 15
CURVE_POINTS = 1000


def _metrics() -> Any:
    """scikit-learn's metrics, whose import takes a second, for those who compute some."""
    from sklearn import metrics

    return metrics


def equal_error_rate(labels: np.ndarray, scores: np.ndarray) -> float:
    """The error rate where as many reals are called fake as fakes real, in [0, 1].

    Linear interpolation of the ROC curve where it crosses `fnr = fpr`; 0.5 with one class only.
    """
    if len(np.unique(labels)) < 2:
        return 0.5
    fpr, tpr, _ = _metrics().roc_curve(labels, scores, drop_intermediate=False)
    gap = fpr - (1 - tpr)
    after = int(np.argmax(gap >= 0))
    before = max(after - 1, 0)
    span = gap[after] - gap[before]
    weight = 0.0 if span == 0 else -gap[before] / span
    return float(fpr[before] + weight * (fpr[after] - fpr[before]))


def expected_calibration_error(labels: np.ndarray, scores: np.ndarray) -> float:
    """Mean distance between score and share of fakes over `CALIBRATION_BINS` equal-width bins,
    weighted by the images in each (Guo et al. 2017, arXiv 1706.04599, for P(fake)); in [0, 1].
    """
    bins = np.minimum((scores * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    count = np.bincount(bins, minlength=CALIBRATION_BINS)
    score_sum = np.bincount(bins, weights=scores, minlength=CALIBRATION_BINS)
    fake_sum = np.bincount(bins, weights=labels, minlength=CALIBRATION_BINS)
    return float(np.abs(score_sum - fake_sum)[count > 0].sum() / len(scores))


def evaluate(table: pd.DataFrame, threshold: float) -> dict[str, float]:
    """The `METRICS` of a table of predictions, in that order.

    Scores from `threshold` on are called fake. With one class only, `roc_auc` is 0.5 and
    precision and recall follow scikit-learn's `zero_division=0`.
    """
    labels = table["label"].to_numpy(dtype=int)
    scores = table["score"].to_numpy(dtype=float)
    called = (scores >= threshold).astype(int)
    metrics = _metrics()
    both = len(np.unique(labels)) == 2
    precision, recall, f1, _ = metrics.precision_recall_fscore_support(
        labels, called, average="binary", zero_division=0
    )
    return {
        "accuracy": float(metrics.accuracy_score(labels, called)),
        "precision": float(precision),
        "recall": float(recall),
        "f1": float(f1),
        "roc_auc": float(metrics.roc_auc_score(labels, scores)) if both else 0.5,
        "average_precision": float(metrics.average_precision_score(labels, scores)),
        "log_loss": float(metrics.log_loss(labels, scores, labels=[0, 1])),
        "brier": float(np.mean((scores - labels) ** 2)),
        "eer": equal_error_rate(labels, scores),
        "ece": expected_calibration_error(labels, scores),
    }


def _thinned(curve: pd.DataFrame) -> pd.DataFrame:
    """At most `CURVE_POINTS` rows, both ends kept, so that a curve stays small in git."""
    if len(curve) <= CURVE_POINTS:
        return curve
    rows = np.linspace(0, len(curve) - 1, CURVE_POINTS).round().astype(int)
    return curve.iloc[rows]


def roc_curve(table: pd.DataFrame) -> pd.DataFrame:
    """Columns `fpr`, `tpr`, `threshold`, each in [0, 1]; of two classes."""
    fpr, tpr, threshold = _metrics().roc_curve(table["label"], table["score"])
    # scikit-learn puts the first threshold, which nothing reaches, at infinity.
    return _thinned(pd.DataFrame({"fpr": fpr, "tpr": tpr, "threshold": np.minimum(threshold, 1)}))


def precision_recall_curve(table: pd.DataFrame) -> pd.DataFrame:
    """Columns `recall`, `precision`, `threshold`, each in [0, 1]."""
    precision, recall, threshold = _metrics().precision_recall_curve(
        table["label"], table["score"], drop_intermediate=True
    )
    return _thinned(
        pd.DataFrame(
            {"recall": recall, "precision": precision, "threshold": np.append(threshold, 1.0)}
        )
    )


def called_names(table: pd.DataFrame, threshold: float) -> pd.DataFrame:
    """Columns `actual` and `predicted`, each real or fake: a row an image."""
    called = (table["score"] >= threshold).astype(int)
    return pd.DataFrame(
        {"actual": table["label"].map(LABEL_NAMES), "predicted": called.map(LABEL_NAMES)}
    )


def classification_report(table: pd.DataFrame, threshold: float) -> str:
    """scikit-learn's report: precision, recall and F1 for each class, as text."""
    names = called_names(table, threshold)
    return str(
        _metrics().classification_report(
            names["actual"],
            names["predicted"],
            labels=list(LABEL_NAMES.values()),
            digits=3,
            zero_division=0,
        )
    )


def roc_auc(labels: np.ndarray, scores: np.ndarray) -> float:
    """ROC-AUC of scores (n,) on any scale, in [0, 1]; 0.5 with one class only."""
    if len(np.unique(labels)) < 2:
        return 0.5
    ranks = np.unique(scores, return_inverse=True)[1]
    return _roc_auc(np.asarray(labels, dtype=int), ranks, np.ones(len(labels), dtype=int))


def _roc_auc(labels: np.ndarray, ranks: np.ndarray, times: np.ndarray) -> float:
    """ROC-AUC where each image (n,) is there so many `times`.

    The Mann-Whitney form: fakes above reals plus half of the ties, from cumulative counts over
    the distinct scores (`ranks` is each image's place among them).
    """
    fake = np.bincount(ranks, weights=times * labels)
    real = np.bincount(ranks, weights=times * (1 - labels))
    below = np.cumsum(real) - real
    wins = (fake * (below + real / 2)).sum()
    return float(wins / (fake.sum() * real.sum()))
