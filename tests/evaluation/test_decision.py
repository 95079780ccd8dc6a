"""The threshold, the uncertain scores, and what is said where images are too few."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from deepfake.evaluation import decision, metrics
from deepfake.evaluation.decision import Decision
from deepfake.evaluation.predictions import predictions
from deepfake.params import EvaluateParams, UncertainParams


def table(reals: Any, fakes: Any) -> pd.DataFrame:
    labels = np.repeat([0, 1], [len(reals), len(fakes)])
    names = [str(number) for number in range(len(labels))]
    return predictions(names, labels, np.concatenate([reals, fakes]), names)


def decided(valid: pd.DataFrame, threshold: Any, error_rate: float = 0.02) -> Decision:
    chosen = EvaluateParams(
        external=[], threshold=threshold, uncertain=UncertainParams(error_rate=error_rate)
    )
    return decision.decide(valid, chosen, model_sha256="abc")


def overlapping(each: int, seed: int = 0, digits: int = 6) -> pd.DataFrame:
    """Beta distributed scores of `each` reals and fakes, with ties for few digits."""
    generator = np.random.default_rng(seed)
    drawn = generator.beta(2, 4, each), generator.beta(4, 2, each)
    return table(*(np.round(scores, digits) for scores in drawn))


def every_threshold(valid: pd.DataFrame) -> list[float]:
    """A threshold in each gap between two scores, below all and above all."""
    scores = [0.0, *sorted(set(valid["score"])), 1.0]
    return [(low + high) / 2 for low, high in pairwise(scores)]


def test_a_number_stays_as_it_is() -> None:
    found = decided(overlapping(100), 0.37)
    assert (found.threshold, found.rule, found.reals, found.fakes) == (0.37, 0.37, 100, 100)
    assert (found.temperature, found.model_sha256, found.notes) == (1, "abc", ())


@pytest.mark.parametrize("digits", [1, 2, 6])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_no_threshold_is_better_by_the_rule(seed: int, digits: int) -> None:
    valid = overlapping(60, seed, digits)

    def youden(threshold: float) -> float:
        found = metrics.evaluate(valid, threshold)
        return found["recall"] + found["specificity"]

    def f1(threshold: float) -> float:
        return metrics.evaluate(valid, threshold)["f1"]

    for rule, worth in (("youden", youden), ("f1", f1)):
        best = max(worth(threshold) for threshold in every_threshold(valid))
        assert worth(decided(valid, rule).threshold) == pytest.approx(best)


@pytest.mark.parametrize("rate", [0.001, 0.05, 0.1, 0.33])
def test_a_false_positive_rate_is_kept_with_the_most_fakes_found(rate: float) -> None:
    valid = overlapping(60)
    found = metrics.evaluate(valid, decided(valid, {"fpr": rate}).threshold)
    assert 1 - found["specificity"] <= rate + 1e-9
    others = [metrics.evaluate(valid, threshold) for threshold in every_threshold(valid)]
    allowed = [other["recall"] for other in others if 1 - other["specificity"] <= rate + 1e-9]
    assert found["recall"] == max(allowed)


def test_a_threshold_lies_half_way_between_two_scores() -> None:
    valid = table([0.1, 0.2], [0.6, 0.9])
    for rule in ("youden", "f1", {"fpr": 0.4}):
        assert decided(valid, rule).threshold == 0.4


def test_neighbouring_scores_are_parted_in_the_digits_of_the_file() -> None:
    found = decided(table([0.1, 0.300001], [0.300002, 0.9]), "youden").threshold
    assert 0.300001 < found <= 0.300002


def test_scores_of_one_or_zero_leave_a_threshold() -> None:
    assert decided(table([1.0, 1.0], [1.0, 0.5]), {"fpr": 0.1}).threshold == 0.75
    assert decided(table([0.0, 0.0], [0.0, 0.0]), "f1").threshold == 0
    assert 0 < decided(table([0.0, 0.0], [1.0, 1.0]), "youden").threshold <= 1


@pytest.mark.parametrize("rate", [0.02, 0.1, 0.3])
def test_certain_calls_have_at_most_the_error_rate_of_each_class(rate: float) -> None:
    valid = overlapping(200)
    found = decided(valid, "youden", rate)
    reals, fakes = (valid.loc[valid["label"] == label, "score"] for label in (0, 1))
    assert found.lower <= found.threshold <= found.upper
    assert 0 < (fakes < found.lower).mean() <= rate + 1e-9
    assert 0 < (reals >= found.upper).mean() <= rate + 1e-9
    if rate == 0.02:  # the threshold is no bound here: one more image would be too many
        assert (fakes < found.lower + 0.02).mean() > rate
        assert (reals >= found.upper - 0.02).mean() > rate


def test_classes_that_are_apart_leave_nothing_uncertain() -> None:
    found = decided(table(np.linspace(0.1, 0.3, 50), np.linspace(0.7, 0.9, 50)), "youden")
    assert found.lower == found.threshold == found.upper == 0.5


def test_too_few_images_are_told_with_the_number_needed() -> None:
    assert decided(overlapping(1000), {"fpr": 0.01}).notes == ()
    assert decided(overlapping(50), "f1").notes == ()
    (rule,) = decided(overlapping(49), "f1", error_rate=0.1).notes
    assert "for the rule f1: it has 49 reals and 49 fakes, and at least 50 of each" in rule
    (wide,) = decided(overlapping(100), {"fpr": 0.01}).notes
    assert "with 1 of its 100 reals predicted fake, the rate may be as high as 0.054" in wide
    rate, error = decided(overlapping(49), {"fpr": 0.01}).notes
    assert "false positive rate of 0.01: it has 49 reals, and at least 100 are needed" in rate
    assert "error rate of 0.02: it has 49 reals and 49 fakes, and at least 50 of each" in error


@pytest.mark.parametrize("rule", ["youden", 0.3])
def test_one_class_decides_nothing(rule: Any) -> None:
    found = decided(table([], [0.2, 0.9]), rule)
    assert found.lower == found.threshold == found.upper == (0.5 if rule == "youden" else 0.3)
    assert found.notes == ("valid holds one class only: no rule can be applied to it.",)


@pytest.mark.parametrize("rule", ["f1", 0.25, {"fpr": 0.05}])
def test_a_decision_comes_back_from_its_file(tmp_path: Path, rule: Any) -> None:
    written = decided(overlapping(30), rule)
    assert written.notes
    decision.write(tmp_path / "a.json", written)
    assert decision.read(tmp_path / "a.json") == written
