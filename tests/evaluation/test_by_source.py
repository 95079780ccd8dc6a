"""Metrics of groups of images, against scikit-learn."""

import numpy as np
import pandas as pd
import pytest

from deepfake.evaluation import by_source, metrics
from deepfake.evaluation.predictions import predictions

SAMPLING = {"samples": 200, "confidence": 0.95, "seed": 1}
HOW = {"threshold": 0.5, **SAMPLING}


def table(number: int = 200, strength: float = 1.0, seed: int = 0) -> pd.DataFrame:
    """Scores of which some are equal, better the larger `strength`; from two sources."""
    rng = np.random.default_rng(seed)
    labels = np.arange(number) % 2
    scores = np.clip(0.5 + 0.15 * rng.normal(strength * (2 * labels - 1)), 0, 1).round(2)
    names = [f"{n}" for n in range(number)]
    sources = ["b" if n % 4 < 2 else "a" for n in range(number)]
    return predictions(names, labels, scores, names, sources=sources)


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.99])
def test_the_values_are_those_of_the_whole_report(threshold: float) -> None:
    scored = table()
    found = by_source.measured(scored, **{**HOW, "threshold": threshold})
    expected = metrics.evaluate(scored, threshold)
    for name in by_source.OF_BOTH:
        assert found[name]["value"] == pytest.approx(expected[name])
    assert found["false_negative_rate"]["value"] == pytest.approx(1 - expected["recall"])
    reals = scored[scored["label"] == 0]
    assert found["false_positive_rate"]["value"] == (reals["score"] >= threshold).mean()


def test_intervals_hold_the_value_and_shrink_with_more_images() -> None:
    few, many = (by_source.measured(table(number), **HOW) for number in (60, 2000))
    for name in (*by_source.OF_BOTH, *by_source.ERROR_RATES):
        for found in (few[name], many[name]):
            assert found["low"] <= found["value"] <= found["high"]
        assert many[name]["high"] - many[name]["low"] < few[name]["high"] - few[name]["low"]


def test_one_class_gives_its_error_rate_alone() -> None:
    scored = table()
    reals, fakes = (scored[scored["label"] == label] for label in (0, 1))
    assert set(by_source.measured(reals, **HOW)) == {"false_positive_rate"}
    assert set(by_source.measured(fakes, **HOW)) == {"false_negative_rate"}


def test_no_error_among_few_images_does_not_count_as_certain() -> None:
    reals = table(20).assign(score=0.1).query("label == 0")
    found = by_source.measured(reals, **HOW)["false_positive_rate"]
    assert (found["value"], found["low"]) == (0, 0)
    assert found["high"] == pytest.approx(0.3085, abs=0.001)  # 1 - 0.025 ** (1 / 10)


def test_each_source_is_measured_by_itself() -> None:
    image = table()
    baseline = image.assign(score=0.5)
    found = by_source.each_source(
        {"baseline": baseline, "image": image}, {"baseline": 0.4, "image": 0.5}, **SAMPLING
    )
    assert list(found) == ["a", "b"]
    for name, group in found.items():
        assert (group["real"], group["fake"]) == (50, 50)
        part = image[image["source"] == name]
        assert group["image"]["roc_auc"]["value"] == pytest.approx(
            metrics.evaluate(part, 0.5)["roc_auc"]
        )
        assert group["baseline"]["roc_auc"]["value"] == 0.5
        assert group["baseline"]["false_positive_rate"]["value"] == 1  # 0.5 is above 0.4


def test_one_source_is_not_told_apart() -> None:
    assert (
        by_source.each_source({"image": table().assign(source="a")}, {"image": 0.5}, **SAMPLING)
        == {}
    )


def test_one_model_is_selected_from_every_group() -> None:
    tables = {"baseline": table(strength=0.2), "image": table()}
    groups = {"source": by_source.each_source(tables, dict.fromkeys(tables, 0.5), **SAMPLING)}
    found = by_source.of_model(groups, "image")
    assert list(found["source"]) == ["a", "b"]
    assert found["source"]["a"] == groups["source"]["a"]["image"]
