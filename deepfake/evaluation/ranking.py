"""ROC-AUC as a rank statistic, fast enough for every epoch and every bootstrap sample."""

import numpy as np


def roc_auc(labels: np.ndarray, scores: np.ndarray) -> float:
    """ROC-AUC of scores on any scale.

    Args:
        labels: shape (n,); 1 for fake, 0 for real.
        scores: shape (n,); larger means more likely fake.

    Returns:
        A number in [0, 1]; 0.5 if only one class is present.
    """
    if len(np.unique(labels)) < 2:
        return 0.5
    labels = np.asarray(labels, dtype=int)
    return weighted_roc_auc(labels, ranks(scores), np.ones(len(labels), dtype=int))


def ranks(scores: np.ndarray) -> np.ndarray:
    """The place (n,) of each score among the distinct scores, from 0 for the smallest."""
    return np.unique(scores, return_inverse=True)[1]


def weighted_roc_auc(labels: np.ndarray, ranks: np.ndarray, counts: np.ndarray) -> float:
    """ROC-AUC of a sample that holds image i `counts[i]` times.

    It is the Mann-Whitney statistic: the share of pairs in which the fake ranks above the real,
    ties counting one half, from cumulative counts over the distinct scores.

    Args:
        labels: shape (n,); both classes must be present in the sample.
        ranks: shape (n,); see `ranks`.
        counts: shape (n,).
    """
    fake = np.bincount(ranks, weights=counts * labels)
    real = np.bincount(ranks, weights=counts * (1 - labels))
    below = np.cumsum(real) - real
    wins = (fake * (below + real / 2)).sum()
    return float(wins / (fake.sum() * real.sum()))
