"""The verdict, its numbers, and the report that carries them."""

import copy
import math
from typing import Any

import pytest
import yaml

from deepfake.evaluation.comparison import LOSSES, of_chance, side_by_side, verdict
from deepfake.evaluation.metrics import METRICS
from deepfake.reporting.report import markdown

BASELINE = {name: 0.5 + number / 1000 for number, name in enumerate(METRICS)}
IMAGE = {name: 0.9 + number / 1000 for number, name in enumerate(METRICS)}


def test_the_image_model_is_better() -> None:
    text = verdict({"difference": 0.3214, "low": 0.2001, "high": 0.4321}, 0.95)
    assert "the image model is better than the metadata baseline, by 0.321 of ROC-AUC" in text
    assert "95% interval +0.200 to +0.432" in text


def test_the_baseline_is_better() -> None:
    text = verdict({"difference": -0.3214, "low": -0.4321, "high": -0.2001}, 0.9)
    assert "the metadata baseline is better than the image model, by 0.321 of ROC-AUC" in text
    assert "90% interval -0.432 to -0.200" in text


@pytest.mark.parametrize("bounds", [(-0.02, 0.05), (0.0, 0.05), (-0.05, 0.0), (0.0, 0.0)])
def test_it_cannot_be_told_when_the_interval_holds_zero(bounds: tuple[float, float]) -> None:
    text = verdict({"difference": 0.0123, "low": bounds[0], "high": bounds[1]}, 0.95)
    assert "cannot tell which model is better" in text
    assert "image minus baseline is +0.012 of ROC-AUC" in text
    assert f"{bounds[0]:+.3f} to {bounds[1]:+.3f}" in text
    assert "better than the" not in text


@pytest.mark.parametrize(("confidence", "told"), [(0.975, "97.5%"), (0.999, "99.9%")])
def test_the_confidence_is_not_rounded_away(confidence: float, told: str) -> None:
    assert told in verdict({"difference": 0.3, "low": 0.2, "high": 0.4}, confidence)


def test_both_models_stand_side_by_side_in_every_metric() -> None:
    table = side_by_side(BASELINE, IMAGE)
    assert tuple(table) == METRICS
    assert all(table[n] == {"baseline": BASELINE[n], "image": IMAGE[n]} for n in METRICS)


def test_losses_are_those_metrics_that_a_worse_model_raises() -> None:
    assert set(LOSSES) == {"log_loss", "brier", "eer", "ece"}


def test_two_standard_errors_divide_chance_from_a_finding() -> None:
    error = math.sqrt((500 + 500 + 1) / (12 * 500 * 500))
    for sign, word in ((1, "better"), (-1, "worse")):
        assert of_chance(0.5 + sign * 1.99 * error, 500, 500) == "no different from chance"
        assert of_chance(0.5 + sign * 2.01 * error, 500, 500) == f"a little {word} than chance"


def test_more_images_make_the_same_value_a_finding() -> None:
    assert of_chance(0.55, 50, 50) == "no different from chance"
    assert of_chance(0.55, 5000, 5000) == "a little better than chance"
    assert of_chance(0.55, 5, 50_000) == "no different from chance"


def test_a_baseline_far_above_chance_is_a_warning() -> None:
    assert "give the classes away" in of_chance(0.95, 500, 500)
    assert "give the classes away" not in of_chance(0.6, 500, 500)


def test_far_below_chance_is_not_a_little() -> None:
    assert "a little" not in of_chance(0.05, 500, 500)


def facts() -> dict[str, Any]:
    counts = {
        split: {"real": 1000 + n, "fake": 2000 + n}
        for n, split in enumerate(("train", "valid", "test"))
    }
    return {
        "verdict": "The verdict's sentence.",
        "data": {
            "source": {"name": "sample", "version": None, "seed": 7},
            "counts": counts,
            "bad": {"count": 0, "reasons": {}},
        },
        "backbone": {"weights": "random", "alpha": 0.35},
        "training": {
            "dimensions": 1234,
            "precision": "float32",
            "head": {"epochs": 11, "best_epoch": 9, "valid_roc_auc": 0.7654},
            "fine_tune": {"epochs": 0, "best_epoch": 0, "valid_roc_auc": 0.0, "kept": False},
        },
        "comparison": {"test": side_by_side(BASELINE, IMAGE)},
        "params": {
            "seed": 7,
            "data": {"source": "sample", "sample": {"size": 192}, "kaggle": {"dataset": "a/b/1"}},
            "train": {"hidden": [128]},
            "tracking": {"experiment": "not a matter of results"},
        },
    }


def test_the_report_has_every_metric_of_both_models() -> None:
    text = markdown(**facts())
    for name in METRICS:
        direction = "lower" if name in LOSSES else "higher"
        row = f"| {name} | {BASELINE[name]:.4f} | {IMAGE[name]:.4f} | {direction} |"
        assert row in text.splitlines()


def test_the_report_begins_with_the_verdict() -> None:
    assert markdown(**facts()).split("\n\n")[1] == "The verdict's sentence."


@pytest.mark.parametrize("weights", ["random", "imagenet"])
def test_the_report_says_which_weights_were_used(weights: str) -> None:
    given = facts()
    given["backbone"]["weights"] = weights
    assert f"alpha 0.35, with **{weights} weights**" in markdown(**given)


def test_the_report_calls_the_sample_a_test_card_and_nothing_else() -> None:
    given = facts()
    assert "test card" in markdown(**given)
    given["data"]["source"]["name"] = "kaggle"
    assert "test card" not in markdown(**given)


def test_the_report_tells_the_data() -> None:
    text = markdown(**facts())
    assert "Source: name sample, seed 7." in text
    assert "| train | 1,000 | 2,000 |\n| valid | 1,001 | 2,001 |\n| test | 1,002 | 2,002 |" in text


def test_the_report_places_the_baseline_against_chance() -> None:
    given = facts()
    given["comparison"]["test"]["roc_auc"]["baseline"] = 0.97
    assert "ROC-AUC of 0.970: far better than chance: the files" in markdown(**given)


def test_the_report_counts_what_was_left_out() -> None:
    given = facts()
    assert "Every image of the source could be read." in markdown(**given)
    given["data"]["bad"] = {"count": 5, "reasons": {"truncated": 3, "corrupt": 2}}
    assert "Left out as unusable: 5 images (truncated: 3, corrupt: 2)." in markdown(**given)


def test_the_report_tells_what_became_of_fine_tuning() -> None:
    given = facts()
    assert "Fine-tuning: none." in markdown(**given)
    tuned = {"epochs": 4, "best_epoch": 3, "valid_roc_auc": 0.8765, "kept": True}
    given["training"]["fine_tune"] = tuned
    assert "4 epochs, best after 3, validation ROC-AUC 0.8765" in markdown(**given)
    given["training"]["fine_tune"] = {**tuned, "kept": False}
    text = markdown(**given)
    assert "none better on `valid` than the head" in text
    assert "0.8765" not in text


def test_the_report_has_the_parameters_that_results_depend_on() -> None:
    text = markdown(**facts())
    block = yaml.safe_load(text.split("```yaml\n")[1].split("```")[0])
    assert block == {
        "seed": 7,
        "data": {"source": "sample", "sample": {"size": 192}},
        "train": {"hidden": [128]},
    }


def test_the_report_leaves_its_arguments_as_they_were() -> None:
    given = facts()
    before = copy.deepcopy(given)
    markdown(**given)
    assert given == before
