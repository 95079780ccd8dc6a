"""The temperature, and reliability."""

import numpy as np
import pytest

from deepfake.evaluation import calibration


def labels_of(logits: np.ndarray, seed: int = 0) -> np.ndarray:
    """Labels for which these logits are right: fake with the probability that they say."""
    drawn = np.random.default_rng(seed).uniform(size=len(logits))
    return (drawn < calibration.calibrated(logits, 1)).astype("int8")


@pytest.mark.parametrize("factor", [0.5, 1, 3])
def test_the_temperature_undoes_a_factor(factor: float) -> None:
    logits = np.random.default_rng(1).normal(scale=3, size=20_000)
    found, note = calibration.fit_temperature(labels_of(logits), factor * logits)
    assert found == pytest.approx(factor, rel=0.05)
    assert note is None


def test_no_other_temperature_has_a_lower_log_loss() -> None:
    logits = np.random.default_rng(2).normal(scale=2, size=300)
    labels = labels_of(logits, seed=3)

    def log_loss(temperature: float) -> float:
        scores = calibration.calibrated(4 * logits, temperature)
        return float(-np.log(np.where(labels == 1, scores, 1 - scores)).mean())

    found, _ = calibration.fit_temperature(labels, 4 * logits)
    assert all(log_loss(found) < log_loss(found * other) for other in (0.5, 0.99, 1.01, 2))


def test_classes_that_are_apart_or_swapped_stop_at_a_bound() -> None:
    labels = np.repeat([0, 1], 50)
    logits = np.repeat([-2.0, 2.0], 50)
    for sign, bound in ((1, calibration.LOWEST), (-1, calibration.HIGHEST)):
        found, note = calibration.fit_temperature(labels, sign * logits)
        assert found == bound
        assert note == "The temperature is at the bound of its range, 0.2 to 10."


@pytest.mark.parametrize("labels", [[0] * 30, [0] * 30 + [1] * 19])
def test_too_few_images_keep_the_scores(labels: list[int]) -> None:
    found, note = calibration.fit_temperature(np.array(labels), np.linspace(-1, 1, len(labels)))
    assert found == 1
    assert note is not None
    assert f"valid has {sum(labels)} images of its smaller class, and 20 are needed" in note


def test_the_score_is_the_sigmoid_of_the_logit_over_the_temperature() -> None:
    found = calibration.calibrated(np.array([-1e4, 0, 3], "float32"), 2.0)
    assert found == pytest.approx([0, 0.5, 1 / (1 + np.exp(-1.5))])


def test_reliability_by_hand() -> None:
    """Bins are a fifteenth wide; 1 belongs to the last."""
    found = calibration.reliability(np.array([0, 1, 1, 1]), np.array([0.01, 0.05, 0.5, 1.0]))
    assert found["images"].tolist() == [2, 1, 1]
    assert found["score"].tolist() == pytest.approx([0.03, 0.5, 1])
    assert found["fakes"].tolist() == [1, 1, 1]
