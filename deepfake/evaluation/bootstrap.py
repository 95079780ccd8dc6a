"""Bootstrap samples of the test images, and the band that they give around a ROC curve."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from deepfake.evaluation import ranking

# The false positive rates at which the band is computed.
RATES = np.linspace(0, 1, 201)


def resamples(labels: np.ndarray, samples: int, seed: int) -> Iterator[np.ndarray]:
    """Yield bootstrap samples (Efron and Tibshirani 1993): how often each holds each image.

    A sample draws as many images of each class as there are, with replacement.

    Args:
        labels: shape (n,), 0 or 1.
        samples: how many.
        seed: of the draws.
    """
    generator = np.random.default_rng(seed)
    classes = [np.flatnonzero(labels == label) for label in (0, 1)]
    for _ in range(samples):
        drawn = np.concatenate([generator.choice(rows, len(rows)) for rows in classes])
        yield np.bincount(drawn, minlength=len(labels))


def roc_band(table: pd.DataFrame, *, samples: int, confidence: float, seed: int) -> pd.DataFrame:
    """The interval of the true positive rate at each of `RATES`.

    Pointwise percentile bootstrap over the images: each sample has its own ROC curve, which is read
    at `RATES`; at each of them the band holds the middle `confidence` of the curves. So the band
    covers the curve at a false positive rate chosen beforehand with that confidence, not the whole
    curve at once. It says how much depends on which images were drawn, and nothing about another
    training or other data.

    Args:
        table: predictions of both classes.
        samples: number of bootstrap samples; their curves take 804 bytes each.
        confidence: in (0, 1).
        seed: of the samples.

    Returns:
        Columns `fpr`, `low` and `high`, each in [0, 1].
    """
    labels, ranks = table["label"].to_numpy(int), ranking.ranks(table["score"].to_numpy())
    curves = np.empty((samples, len(RATES)), "float32")
    for curve, counts in zip(curves, resamples(labels, samples, seed), strict=True):
        curve[:] = np.interp(RATES, *ranking.weighted_roc(labels, ranks, counts))
    tail = (1 - confidence) / 2
    low, high = np.quantile(curves, [tail, 1 - tail], axis=0)
    return pd.DataFrame({"fpr": RATES, "low": low, "high": high})
