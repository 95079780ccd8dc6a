"""Temperature scaling, and how well scores agree with what they say (Guo et al. 2017, arXiv
1706.04599)."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import expit

BINS = 15
# A temperature beyond this range says that `valid` is too small or too easy, not how sure to be:
# without any mistake in it, the best temperature would be 0.
LOWEST, HIGHEST = 0.2, 10.0
FEWEST = 20  # images of each class from which a temperature is fitted
_DIGITS = 4


def fit_temperature(labels: np.ndarray, logits: np.ndarray) -> tuple[float, str | None]:
    """The temperature T with the least log loss of sigmoid(logit / T).

    It changes no order of the scores. Above 1 it makes the model less sure, below 1 surer.

    Args:
        labels: shape (n,), 0 real or 1 fake.
        logits: shape (n,), finite.

    Returns:
        T, from `LOWEST` to `HIGHEST`, rounded to four decimals; 1 with fewer than `FEWEST` images
        of a class. And a sentence where T is 1 or a bound for such a reason, else None.
    """
    fewest = int(np.bincount(labels, minlength=2).min())
    if fewest < FEWEST:
        return 1.0, (
            f"No temperature was fitted: valid has {fewest} images of its smaller class, and "
            f"{FEWEST} are needed."
        )
    signs = np.where(labels == 1, 1.0, -1.0)

    def log_loss(logarithm: float) -> float:
        return float(np.logaddexp(0, -signs * logits / np.exp(logarithm)).mean())

    bounds = np.log([LOWEST, HIGHEST])
    found = minimize_scalar(log_loss, bounds=bounds, method="bounded", options={"xatol": 1e-6})
    temperature = round(float(np.exp(found.x)), _DIGITS)
    if LOWEST * 1.001 < temperature < HIGHEST * 0.999:
        return temperature, None
    bound = LOWEST if temperature < 1 else HIGHEST
    return bound, f"The temperature is at the bound of its range, {LOWEST:g} to {HIGHEST:g}."


def calibrated(logits: np.ndarray, temperature: float) -> NDArray[np.float64]:
    """P(fake) (n,) of logits (n,): sigmoid(logit / temperature)."""
    return np.asarray(expit(np.asarray(logits, "float64") / temperature))


def bins_of(scores: np.ndarray) -> NDArray[np.int64]:
    """The bin, from 0 to `BINS` - 1, of each score in [0, 1]; 1 belongs to the last."""
    return np.asarray(np.minimum((scores * BINS).astype(int), BINS - 1))


def reliability(labels: np.ndarray, scores: np.ndarray) -> pd.DataFrame:
    """What scores say, and what share of their images is fake, in `BINS` bins of equal width.

    Args:
        labels: shape (n,), 0 or 1.
        scores: shape (n,), in [0, 1].

    Returns:
        A row for each bin that holds an image: `images` (how many), `score` (their mean, in
        [0, 1]) and `fakes` (how many of them are fake).
    """
    bins = bins_of(scores)
    images = np.bincount(bins, minlength=BINS)
    filled = images > 0
    total = np.bincount(bins, weights=scores, minlength=BINS)
    fakes = np.bincount(bins, weights=labels, minlength=BINS).astype(int)
    return pd.DataFrame(
        {
            "images": images[filled],
            "score": total[filled] / images[filled],
            "fakes": fakes[filled],
        }
    )
