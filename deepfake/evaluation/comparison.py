"""Both models on the same test images: each metric, and the difference in ROC-AUC."""

from typing import Any

import numpy as np
import pandas as pd

from deepfake.common.errors import PipelineError
from deepfake.evaluation import ranking
from deepfake.evaluation.bootstrap import resamples
from deepfake.evaluation.metrics import METRICS
from deepfake.evaluation.ranking import ranks, roc_auc

# For these metrics smaller is better; for the others, larger.
LOSSES = ("log_loss", "brier", "eer", "ece")


def side_by_side(baseline: dict[str, float], image: dict[str, float]) -> dict[str, Any]:
    """The value of each metric on `test`, for both models."""
    return {name: {"baseline": baseline[name], "image": image[name]} for name in METRICS}


def bootstrap_difference(
    first: pd.DataFrame, second: pd.DataFrame, *, samples: int, confidence: float, seed: int
) -> dict[str, float]:
    """ROC-AUC of `second` minus ROC-AUC of `first` on the same images, with its interval.

    Paired percentile bootstrap: both models are scored on the same samples of `resamples`.

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
    differences = np.empty(samples)
    for sample, counts in enumerate(resamples(labels, samples, seed)):
        one, two = (ranking.weighted_roc_auc(labels, places, counts) for places in placed)
        differences[sample] = two - one
    tail = (1 - confidence) / 2
    low, high = np.quantile(differences, [tail, 1 - tail])
    point = [roc_auc(labels, table["score"].to_numpy()) for table in (first, second)]
    return {"difference": point[1] - point[0], "low": float(low), "high": float(high)}
