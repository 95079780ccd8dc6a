"""Metrics, with intervals, of a group of images: a source, or a data set never trained on."""

from typing import Any

import numpy as np
import pandas as pd

from deepfake.evaluation import intervals, ranking
from deepfake.evaluation.bootstrap import resamples

# These need images of both classes.
OF_BOTH = ("roc_auc", "average_precision", "eer", "accuracy")
# The shares of reals and of fakes that are predicted wrongly; each needs images of its class.
ERROR_RATES = ("false_positive_rate", "false_negative_rate")


def each_source(
    tables: dict[str, pd.DataFrame], thresholds: dict[str, float], **sampling: Any
) -> dict[str, dict[str, Any]]:
    """What `both_models` returns of the images of each source; nothing if there is only one.

    The arguments are those of `both_models`.
    """
    names = sorted(set(next(iter(tables.values()))["source"]))
    if len(names) < 2:
        return {}
    return {
        name: both_models(
            {model: table[table["source"] == name] for model, table in tables.items()},
            thresholds,
            **sampling,
        )
        for name in names
    }


def both_models(
    tables: dict[str, pd.DataFrame], thresholds: dict[str, float], **sampling: Any
) -> dict[str, Any]:
    """How many images there are, `real` and `fake`, and what `measured` returns of each model.

    Args:
        tables: the predictions of each model, of the same images.
        thresholds: of each model.
        sampling: `samples`, `confidence` and `seed`, as for `measured`.
    """
    labels = next(iter(tables.values()))["label"]
    counts = {"real": int((labels == 0).sum()), "fake": int((labels == 1).sum())}
    return counts | {
        model: measured(table, threshold=thresholds[model], **sampling)
        for model, table in tables.items()
    }


def of_model(groups: dict[str, dict[str, Any]], model: str) -> dict[str, dict[str, Any]]:
    """Select what `measured` returned of one model, from kinds of groups, each a dict by the
    group's name of what `both_models` returned."""
    return {
        kind: {name: both[model] for name, both in named.items()} for kind, named in groups.items()
    }


def measured(
    table: pd.DataFrame, *, threshold: float, samples: int, confidence: float, seed: int
) -> dict[str, dict[str, float]]:
    """Compute `OF_BOTH` and `ERROR_RATES`, each with its interval.

    `OF_BOTH` have a percentile bootstrap over the images, each class by itself. The error rates
    have the exact interval of a share (`intervals.exact`), which does not shrink to nothing where
    no image is wrong.

    Args:
        table: predictions of at least one image.
        threshold: in (0, 1); scores from here on are predicted fake.
        samples: number of bootstrap samples.
        confidence: of the intervals, in (0, 1).
        seed: of the samples.

    Returns:
        `value`, `low` and `high`, each in [0, 1], of each metric that the classes present allow.
    """
    labels, scores = table["label"].to_numpy(int), table["score"].to_numpy()
    wrong = (scores >= threshold) != (labels == 1)
    found = {
        name: _rate(wrong[labels == label], confidence)
        for label, name in enumerate(ERROR_RATES)
        if (labels == label).any()
    }
    if len(found) < len(ERROR_RATES):
        return found
    ranks = ranking.ranks(scores)
    called = int((np.unique(scores) >= threshold).sum())
    drawn = [
        _of_sample(labels, ranks, counts, called) for counts in resamples(labels, samples, seed)
    ]
    tail = (1 - confidence) / 2
    bounds = np.quantile(drawn, [tail, 1 - tail], axis=0).T
    point = _of_sample(labels, ranks, np.ones(len(labels), dtype=int), called)
    return {
        name: {"value": float(value), "low": float(low), "high": float(high)}
        for name, value, (low, high) in zip(OF_BOTH, point, bounds, strict=True)
    } | found


def _rate(wrong: np.ndarray, confidence: float) -> dict[str, float]:
    interval = intervals.exact(int(wrong.sum()), len(wrong), confidence)
    return {"value": float(wrong.mean()), **interval}


def _of_sample(
    labels: np.ndarray, ranks: np.ndarray, counts: np.ndarray, called: int
) -> tuple[float, ...]:
    """`OF_BOTH` of a sample that holds image i `counts[i]` times.

    Args:
        called: how many of the distinct scores are predicted fake.
    """
    fpr, tpr = ranking.weighted_roc(labels, ranks, counts)
    prevalence = float((labels * counts).sum() / counts.sum())
    accuracy = prevalence * tpr[called] + (1 - prevalence) * (1 - fpr[called])
    return *intervals.of_curve(fpr, tpr, prevalence), float(accuracy)
