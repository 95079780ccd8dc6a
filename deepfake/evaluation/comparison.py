"""Both models side by side on the same test images."""

from typing import Any

import numpy as np
import pandas as pd

from deepfake.common.errors import PipelineError
from deepfake.evaluation import ranking
from deepfake.evaluation.metrics import METRICS
from deepfake.evaluation.ranking import ranks, roc_auc

# For these metrics smaller is better; for the others, larger.
LOSSES = ("log_loss", "brier", "eer", "ece")


def side_by_side(baseline: dict[str, float], image: dict[str, float]) -> dict[str, Any]:
    """The value of each metric on `test`, for both models."""
    return {name: {"baseline": baseline[name], "image": image[name]} for name in METRICS}


def verdict(interval: dict[str, float], confidence: float) -> str:
    """One sentence: which model is better on `test` and by how much, or that it cannot be told.

    `interval` is that of `bootstrap_difference`, image model minus baseline.
    """
    low, high = interval["low"], interval["high"]
    span = f"{100 * confidence:g}% interval {low:+.3f} to {high:+.3f}"
    if low > 0 or high < 0:
        better, worse = ("image model", "metadata baseline")
        if high < 0:
            better, worse = worse, better
        return (
            f"On the test images the {better} is better than the {worse}, by "
            f"{abs(interval['difference']):.3f} in ROC-AUC (image minus baseline: {span})."
        )
    return (
        "The test images do not show which model is better: image minus baseline is "
        f"{interval['difference']:+.3f} in ROC-AUC ({span})."
    )


def of_chance(roc_auc: float, reals: int, fakes: int) -> str:
    """Say how far a ROC-AUC lies from 0.5, in standard errors under chance.

    The variance is (n + 1) / 12 over the product of the class sizes (Hanley and McNeil 1982).
    """
    error = ((reals + fakes + 1) / (12 * reals * fakes)) ** 0.5
    distance = abs(roc_auc - 0.5) / error
    if distance < 2:
        return "no different from chance"
    direction = "better" if roc_auc > 0.5 else "worse"
    if abs(roc_auc - 0.5) < 0.12:
        return f"a little {direction} than chance"
    return f"far {direction} than chance: the files themselves give the classes away"


def bootstrap_difference(
    first: pd.DataFrame, second: pd.DataFrame, *, samples: int, confidence: float, seed: int
) -> dict[str, float]:
    """ROC-AUC of `second` minus ROC-AUC of `first` on the same images, with its interval.

    Paired percentile bootstrap (Efron and Tibshirani 1993): each sample draws images with
    replacement within each class, and both models are scored on the same sample.

    Args:
        first, second: predictions of the same images.
        samples: number of bootstrap samples.
        confidence: of the interval, in (0, 1).
        seed: of the samples.

    Returns:
        `difference`, `low`, `high`, each in [-1, 1].

    Raises:
        PipelineError: the tables hold other images, or one class only.
    """
    if not first[["image_id", "label"]].equals(second[["image_id", "label"]]):
        raise PipelineError("the two models were scored on different images: run `dvc repro`")
    labels = first["label"].to_numpy(dtype=int)
    if len(np.unique(labels)) < 2:
        raise PipelineError("the images to compare on are of one class only")
    placed = [ranks(table["score"].to_numpy()) for table in (first, second)]
    generator = np.random.default_rng(seed)
    classes = [np.flatnonzero(labels == label) for label in (0, 1)]
    differences = np.empty(samples)
    for sample in range(samples):
        drawn = np.concatenate([generator.choice(rows, len(rows)) for rows in classes])
        counts = np.bincount(drawn, minlength=len(labels))
        one, two = (ranking.weighted_roc_auc(labels, places, counts) for places in placed)
        differences[sample] = two - one
    tail = (1 - confidence) / 2
    low, high = np.quantile(differences, [tail, 1 - tail])
    point = [roc_auc(labels, table["score"].to_numpy()) for table in (first, second)]
    return {"difference": point[1] - point[0], "low": float(low), "high": float(high)}
