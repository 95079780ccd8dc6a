"""How a score becomes real, fake or uncertain. The choices are made on `valid` and kept in a file.

Every choice is a cut between two neighbouring scores of `valid`: half-way, so that a score that
another machine rounds differently falls on the same side.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deepfake.common.files import JSON_DIGITS, read_json, reading, write_json
from deepfake.common.labels import FAKE, REAL
from deepfake.evaluation import metrics
from deepfake.evaluation.intervals import exact
from deepfake.params import EvaluateParams, Rule

_FEWEST_OF_RULE = 50  # images of each class: a share of them has a standard error of up to 0.07
_CONFIDENCE = 0.95
_WIDE = 2.0  # times the rate asked for: an interval that reaches beyond is told
_ROUNDING = 1e-9  # so that a share of 0.02 of 50 images allows one


@dataclass(frozen=True)
class Decision:
    """How the scores of a model are read.

    Attributes:
        temperature: by which the logit is divided; above 0.
        rule: by which the threshold was chosen: a number, `youden`, `f1` or `{"fpr": rate}`.
        threshold: scores from here on are predicted fake; in [0, 1], as the next two.
        lower: scores below are real with certainty, see `uncertain_band`; at most `threshold`.
        upper: scores from here on are fake with certainty; at least `threshold`. Scores from
            `lower` to below `upper` are uncertain.
        error_rate: that `lower` and `upper` were chosen for, in (0, 0.5).
        reals, fakes: number of images of `valid`, on which all of it was chosen.
        model_sha256: of the file of the model that this belongs to.
        notes: sentences on what `valid` was too small for; usually none.
    """

    temperature: float
    rule: Rule
    threshold: float
    lower: float
    upper: float
    error_rate: float
    reals: int
    fakes: int
    model_sha256: str
    notes: tuple[str, ...] = ()


def write(path: Path | str, decision: Decision) -> None:
    """Write a decision as JSON."""
    write_json(path, asdict(decision))


def read(path: Path | str) -> Decision:
    """Read a decision that `write` wrote.

    Raises:
        PipelineError: the file is damaged.
    """
    with reading(path):
        values = read_json(path)
        return Decision(**{**values, "notes": tuple(values["notes"])})


def decide(
    valid: pd.DataFrame,
    chosen: EvaluateParams,
    *,
    model_sha256: str,
    temperature: float = 1.0,
    notes: Sequence[str] = (),
) -> Decision:
    """Choose the threshold and the uncertain scores on the predictions of `valid`.

    With one class only nothing can be chosen: a rule gives 0.5, and no score is uncertain.

    Args:
        valid: the predictions, calibrated.
        chosen: the rule and the error rate.
        model_sha256: of the model's file.
        temperature: that the scores were calibrated with.
        notes: what the calibration has to say.
    """
    labels, scores = valid["label"].to_numpy(), valid["score"].to_numpy()
    reals, fakes = (np.sort(scores[labels == label]) for label in (REAL, FAKE))
    rate = chosen.uncertain.error_rate
    rule = chosen.threshold
    threshold = round(float(rule), JSON_DIGITS) if isinstance(rule, int | float) else 0.5
    lower = upper = threshold
    said = list(notes)
    if not len(reals) or not len(fakes):
        said.append("valid holds one class only: no rule can be applied to it.")
    else:
        if not isinstance(rule, int | float):
            threshold = choose(reals, fakes, rule)
        lower, upper = uncertain_band(reals, fakes, threshold, rate)
        said += _too_few(chosen, reals, fakes, threshold)
    return Decision(
        temperature, rule, threshold, lower, upper, rate, len(reals), len(fakes),
        model_sha256, tuple(said),
    )  # fmt: skip


def on_test(decided: Decision, test: pd.DataFrame) -> dict[str, float]:
    """Measure a decision on the predictions of `test`; `metrics.evaluate` gives the usual metrics.

    Returns:
        As shares in [0, 1]: `uncertain` images, `fakes_called_real` (of the fakes, those below
        `lower`), `reals_called_fake` (of the reals, those from `upper` on). And
        `uncalibrated_log_loss` and `uncalibrated_ece`, the metrics of the scores before the
        temperature.
    """
    labels, scores = test["label"], test["score"]
    before = metrics.evaluate(test.assign(score=test["uncalibrated"]), decided.threshold)
    return {
        "uncertain": float(((scores >= decided.lower) & (scores < decided.upper)).mean()),
        "fakes_called_real": float((scores[labels == FAKE] < decided.lower).mean()),
        "reals_called_fake": float((scores[labels == REAL] >= decided.upper).mean()),
        **{f"uncalibrated_{name}": before[name] for name in ("log_loss", "ece")},
    }


def choose(reals: np.ndarray, fakes: np.ndarray, rule: Rule) -> float:
    """The threshold that a rule gives.

    - `youden`: the largest sensitivity plus specificity (Youden 1950).
    - `f1`: the largest F1 of fakes.
    - `{"fpr": rate}`: the lowest threshold at which at most this share of the reals is predicted
      fake. If scores of 1 make even the highest exceed it, the highest.

    Where several are as good, the lowest of them: it finds the most fakes.

    Args:
        reals, fakes: scores, sorted, at least one each.
        rule: not a number.
    """
    cuts = _cuts(reals, fakes)
    false_positives, true_positives = _from(reals, cuts), _from(fakes, cuts)
    match rule:
        case "youden":
            # Over a common denominator, so that what is equal is equal to the last bit.
            worth = true_positives * len(reals) - false_positives * len(fakes)
            return float(cuts[np.argmax(worth)])
        case "f1":
            f1 = 2 * true_positives / (true_positives + false_positives + len(fakes))
            return float(cuts[np.argmax(f1)])
        case {"fpr": rate}:
            good = cuts[false_positives <= rate * len(reals) + _ROUNDING]
            return float(good[0] if len(good) else cuts[-1])
    raise ValueError(f"no rule: {rule!r}")


def uncertain_band(
    reals: np.ndarray, fakes: np.ndarray, threshold: float, error_rate: float
) -> tuple[float, float]:
    """The scores between which an image is called neither real nor fake.

    Args:
        reals, fakes: scores, sorted, at least one each.
        threshold: the band holds it, so that a certain call agrees with it.
        error_rate: in (0, 0.5).

    Returns:
        `lower`, the highest cut, at most `threshold`, with at most the share `error_rate` of the
        fakes below it; and `upper`, the lowest cut, at least `threshold`, with at most that share
        of the reals from it on. Where the classes are that far apart, both are `threshold`.
    """
    cuts = _cuts(reals, fakes)
    below = len(fakes) - _from(fakes, cuts)
    low = cuts[below <= error_rate * len(fakes) + _ROUNDING]
    high = cuts[_from(reals, cuts) <= error_rate * len(reals) + _ROUNDING]
    # The lowest cut has no fake below; scores of 1 can leave no cut that is high enough.
    upper = high[0] if len(high) else 1.0
    return min(float(low[-1]), threshold), max(float(upper), threshold)


def _cuts(reals: np.ndarray, fakes: np.ndarray) -> NDArray[np.float64]:
    """Thresholds that part the scores in every possible way, ascending: the first below all scores,
    the last above all, unless a score is 1."""
    scores = np.unique(np.concatenate([reals, fakes]))
    middle = (np.concatenate([[0.0], scores]) + np.concatenate([scores, [1.0]])) / 2
    # Upwards, because a score at a cut counts as above it: the lower neighbour must stay below.
    digits = 10**JSON_DIGITS
    cuts = np.asarray(np.ceil(np.round(middle * digits, 3)) / digits)
    return cuts[:-1] if scores[-1] == 1 else cuts


def _from(scores: np.ndarray, cuts: np.ndarray) -> NDArray[np.int64]:
    """How many of the sorted scores lie at or above each cut."""
    return np.asarray(len(scores) - np.searchsorted(scores, cuts, side="left"))


def _too_few(
    chosen: EvaluateParams, reals: np.ndarray, fakes: np.ndarray, threshold: float
) -> list[str]:
    """What `valid` has too few images for.

    Args:
        chosen: the rule, and the error rate outside the uncertain band.
        reals, fakes: scores, at least one each.
        threshold: what the rule gave.
    """
    found, fewest = [], min(len(reals), len(fakes))
    counted = f"it has {len(reals):,} reals and {len(fakes):,} fakes"
    if isinstance(chosen.threshold, dict):
        found += _of_rate(chosen.threshold["fpr"], reals, threshold)
    elif isinstance(chosen.threshold, str) and fewest < _FEWEST_OF_RULE:
        found.append(
            f"valid is too small for the rule {chosen.threshold}: {counted}, and at least "
            f"{_FEWEST_OF_RULE} of each are needed. With fewer, single images move the threshold."
        )
    rate = chosen.uncertain.error_rate
    needed = math.ceil(1 / rate - _ROUNDING)
    if fewest < needed:
        found.append(
            f"valid is too small for an error rate of {rate:g}: {counted}, and at least "
            f"{needed:,} of each are needed. With fewer, there is no error outside the uncertain "
            "band."
        )
    return found


def _of_rate(rate: float, reals: np.ndarray, threshold: float) -> list[str]:
    """What the reals of `valid` do not show about a false positive rate."""
    needed = math.ceil(1 / rate - _ROUNDING)
    if len(reals) < needed:
        return [
            f"valid is too small for a false positive rate of {rate:g}: it has {len(reals):,} "
            f"reals, and at least {needed:,} are needed. With fewer, not one of them may be "
            "predicted fake."
        ]
    wrong = int((reals >= threshold).sum())
    high = exact(wrong, len(reals), _CONFIDENCE)["high"]
    if high <= _WIDE * rate:
        return []
    return [
        f"valid leaves the false positive rate of {rate:g} uncertain: with {wrong:,} of its "
        f"{len(reals):,} reals predicted fake, the rate may be as high as {high:.3f} (exact "
        f"{_CONFIDENCE:.0%} interval)."
    ]
