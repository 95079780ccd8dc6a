"""Both models side by side on the same test images."""

from typing import Any

import numpy as np
import pandas as pd

from deepfake.common.errors import PipelineError
from deepfake.evaluation.metrics import METRICS, _roc_auc, roc_auc

# Smaller is better for these; larger for the others.
LOSSES = ("log_loss", "brier", "eer", "ece")


def side_by_side(baseline: dict[str, float], image: dict[str, float]) -> dict[str, Any]:
    """For each metric, what either model reaches on `test`."""
    return {name: {"baseline": baseline[name], "image": image[name]} for name in METRICS}


def verdict(interval: dict[str, float], confidence: float) -> str:
    """One sentence: which model is better on `test` and by how much, or that it cannot be told.

    `interval` is that of `scores.bootstrap_difference`, image model minus baseline.
    """
    low, high = interval["low"], interval["high"]
    span = f"{100 * confidence:g}% interval {low:+.3f} to {high:+.3f}"
    if low > 0 or high < 0:
        better, worse = ("image model", "metadata baseline")
        if high < 0:
            better, worse = worse, better
        return (
            f"On the test images the {better} is better than the {worse}, by "
            f"{abs(interval['difference']):.3f} of ROC-AUC (image minus baseline: {span})."
        )
    return (
        "On the test images the data cannot tell which model is better: image minus baseline is "
        f"{interval['difference']:+.3f} of ROC-AUC ({span})."
    )


def of_chance(roc_auc: float, reals: int, fakes: int) -> str:
    """How far a ROC-AUC lies from 0.5, by its standard error under chance
    (Hanley and McNeil 1982: (n + 1) / 12 over the product of the class sizes)."""
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
    """`roc_auc` of `second` minus that of `first` over the same images, with its interval.

    Paired percentile bootstrap (Efron and Tibshirani 1993): images are drawn with replacement
    within each class, and both models are scored on the same draw.

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
    ranks = [
        np.unique(table["score"].to_numpy(), return_inverse=True)[1] for table in (first, second)
    ]
    generator = np.random.default_rng(seed)
    classes = [np.flatnonzero(labels == label) for label in (0, 1)]
    differences = np.empty(samples)
    for sample in range(samples):
        drawn = np.concatenate([generator.choice(rows, len(rows)) for rows in classes])
        times = np.bincount(drawn, minlength=len(labels))
        one, two = (_roc_auc(labels, rank, times) for rank in ranks)
        differences[sample] = two - one
    tail = (1 - confidence) / 2
    low, high = np.quantile(differences, [tail, 1 - tail])
    point = [roc_auc(labels, table["score"].to_numpy()) for table in (first, second)]
    return {"difference": point[1] - point[0], "low": float(low), "high": float(high)}
