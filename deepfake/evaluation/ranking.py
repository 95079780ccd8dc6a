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
    real, fake = _by_rank(labels, ranks, counts)
    below = np.cumsum(real) - real
    wins = (fake * (below + real / 2)).sum()
    return float(wins / (fake.sum() * real.sum()))


def weighted_roc(
    labels: np.ndarray, ranks: np.ndarray, counts: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """False and true positive rate of a sample at every threshold, from the highest score down.

    The arguments are those of `weighted_roc_auc`. Both curves begin with 0 and end with 1.
    """
    found = []
    for counted in _by_rank(labels, ranks, counts):
        above = np.concatenate([[0.0], np.cumsum(counted[::-1])])
        found.append(above / above[-1])
    return found[0], found[1]


def _by_rank(
    labels: np.ndarray, ranks: np.ndarray, counts: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """How many reals, and how many fakes, a sample holds of each distinct score."""
    real = np.bincount(ranks, weights=counts * (1 - labels))
    return real, np.bincount(ranks, weights=counts * labels)
