"""Every number and curve that is computed from predictions.

A table of predictions has the columns `label` (0 real, 1 fake) and `score`, which is P(fake) in
[0, 1]; see `predictions`.
"""

import numpy as np
import pandas as pd
from sklearn import metrics as sklearn_metrics

from deepfake.common.labels import LABEL_NAMES, REAL
from deepfake.evaluation.calibration import reliability

METRICS = (
    "accuracy",
    "precision",
    "recall",
    "specificity",
    "f1",
    "roc_auc",
    "average_precision",
    "log_loss",
    "brier",
    "eer",
    "ece",
)
CURVE_POINTS = 1000


def evaluate(table: pd.DataFrame, threshold: float) -> dict[str, float]:
    """Compute the `METRICS` of a table of predictions, in that order.

    Recall is the sensitivity: the share of fakes that are predicted fake. Specificity is the share
    of reals that are predicted real.

    Args:
        table: the predictions.
        threshold: in (0, 1); scores from here on are predicted fake.

    Returns:
        A number for each metric. With one class only, `roc_auc` is 0.5, and precision, recall and
        specificity follow scikit-learn's `zero_division=0`.
    """
    labels = table["label"].to_numpy(dtype=int)
    scores = table["score"].to_numpy(dtype=float)
    predicted = (scores >= threshold).astype(int)
    both = len(np.unique(labels)) == 2
    precision, recall, f1, _ = sklearn_metrics.precision_recall_fscore_support(
        labels, predicted, average="binary", zero_division=0
    )
    return {
        "accuracy": float(sklearn_metrics.accuracy_score(labels, predicted)),
        "precision": float(precision),
        "recall": float(recall),
        "specificity": float(
            sklearn_metrics.recall_score(labels, predicted, pos_label=REAL, zero_division=0)
        ),
        "f1": float(f1),
        "roc_auc": float(sklearn_metrics.roc_auc_score(labels, scores)) if both else 0.5,
        "average_precision": float(sklearn_metrics.average_precision_score(labels, scores)),
        "log_loss": float(sklearn_metrics.log_loss(labels, scores, labels=[0, 1])),
        "brier": float(np.mean((scores - labels) ** 2)),
        "eer": equal_error_rate(labels, scores),
        "ece": expected_calibration_error(labels, scores),
    }


def equal_error_rate(labels: np.ndarray, scores: np.ndarray) -> float:
    """The error rate, in [0, 1], at which false positive and false negative rate are equal.

    The ROC curve is interpolated linearly between its points; 0.5 with one class only.
    """
    if len(np.unique(labels)) < 2:
        return 0.5
    fpr, tpr, _ = sklearn_metrics.roc_curve(labels, scores, drop_intermediate=False)
    return crossing(fpr, tpr)


def crossing(fpr: np.ndarray, tpr: np.ndarray) -> float:
    """The equal error rate of a ROC curve from (0, 0) to (1, 1)."""
    gap = fpr - (1 - tpr)
    after = int(np.argmax(gap >= 0))
    before = max(after - 1, 0)
    span = gap[after] - gap[before]
    weight = 0.0 if span == 0 else -gap[before] / span
    return float(fpr[before] + weight * (fpr[after] - fpr[before]))


def expected_calibration_error(labels: np.ndarray, scores: np.ndarray) -> float:
    """The mean distance, in [0, 1], between score and share of fakes.

    Over the bins of `calibration.reliability`, weighted by the number of images in each (Guo et
    al. 2017, arXiv 1706.04599, for P(fake)).
    """
    bins = reliability(labels, scores)
    gaps = bins["images"] * bins["score"] - bins["fakes"]
    return float(gaps.abs().sum() / len(scores))


def roc_curve(table: pd.DataFrame) -> pd.DataFrame:
    """The ROC curve of both classes: columns `fpr`, `tpr` and `threshold`, each in [0, 1]."""
    fpr, tpr, threshold = sklearn_metrics.roc_curve(table["label"], table["score"])
    # scikit-learn puts the first threshold, which no score reaches, at infinity.
    return _thinned(pd.DataFrame({"fpr": fpr, "tpr": tpr, "threshold": np.minimum(threshold, 1)}))


def precision_recall_curve(table: pd.DataFrame) -> pd.DataFrame:
    """The curve with the columns `recall`, `precision` and `threshold`, each in [0, 1]."""
    precision, recall, threshold = sklearn_metrics.precision_recall_curve(
        table["label"], table["score"], drop_intermediate=True
    )
    return _thinned(
        pd.DataFrame(
            {"recall": recall, "precision": precision, "threshold": np.append(threshold, 1.0)}
        )
    )


def _thinned(curve: pd.DataFrame) -> pd.DataFrame:
    """At most `CURVE_POINTS` rows of a curve, both ends kept: a page draws no more."""
    if len(curve) <= CURVE_POINTS:
        return curve
    rows = np.linspace(0, len(curve) - 1, CURVE_POINTS).round().astype(int)
    return curve.iloc[rows]


def predicted_names(table: pd.DataFrame, threshold: float) -> pd.DataFrame:
    """Columns `actual` and `predicted`, each `real` or `fake`; one row for each image."""
    predicted = (table["score"] >= threshold).astype(int)
    return pd.DataFrame(
        {"actual": table["label"].map(LABEL_NAMES), "predicted": predicted.map(LABEL_NAMES)}
    )


def classification_report(table: pd.DataFrame, threshold: float) -> str:
    """scikit-learn's report: precision, recall and F1 of each class, as text."""
    names = predicted_names(table, threshold)
    return str(
        sklearn_metrics.classification_report(
            names["actual"],
            names["predicted"],
            labels=list(LABEL_NAMES.values()),
            digits=3,
            zero_division=0,
        )
    )
