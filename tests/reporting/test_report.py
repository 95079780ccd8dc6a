"""The report."""

import copy
from dataclasses import asdict
from typing import Any

import pytest
import yaml

from deepfake.evaluation.comparison import LOSSES, side_by_side
from deepfake.evaluation.decision import Decision
from deepfake.evaluation.metrics import METRICS
from deepfake.reporting.report import BODY, markdown, top

BASELINE = {name: 0.5 + number / 1000 for number, name in enumerate(METRICS)}
SPAN = {"low": 0.25, "high": 0.75}
IMAGE = {name: 0.9 + number / 1000 for number, name in enumerate(METRICS)}


def decided() -> dict[str, Any]:
    chosen = Decision(1.25, {"fpr": 0.01}, 0.43, 0.31, 0.62, 0.03, 1001, 2001, "a digest")
    shares = {"uncertain": 0.125, "fakes_called_real": 0.021, "reals_called_fake": 0.034}
    before = {"uncalibrated_log_loss": 0.777, "uncalibrated_ece": 0.111}
    return {**asdict(chosen), "on_test": {**shares, **before}}


def facts() -> dict[str, Any]:
    counts = {
        split: {"real": 1000 + n, "fake": 2000 + n}
        for n, split in enumerate(("train", "valid", "test"))
    }
    return {
        "sentence": "The verdict's sentence.",
        "features": ["bytes", "width"],
        "data": {
            "source": {"name": "sample", "version": None, "seed": 7},
            "counts": counts,
            "bad": {"count": 0, "reasons": {}},
        },
        "backbone": {"weights": "random", "alpha": 0.35},
        "training": {
            "dimensions": 1234,
            "precision": "float32",
            "head": {
                "epochs": 11,
                "best_epoch": 9,
                "valid_roc_auc": 0.7654,
                "hidden": [128],
                "weight_decay": 0.1,
            },
            "fine_tune": {"epochs": 0, "best_epoch": 0, "valid_roc_auc": 0.0, "kept": False},
        },
        "comparison": {"test": side_by_side(BASELINE, IMAGE)},
        "intervals": {model: dict.fromkeys(METRICS, SPAN) for model in ("baseline", "image")},
        "decisions": {"baseline": decided(), "image": decided()},
        "params": {
            "seed": 7,
            "data": {"source": "sample", "sample": {"size": 192}, "kaggle": {"dataset": "a/b/1"}},
            "train": {"hidden": [128]},
            "compare": {"bootstrap_samples": 2000, "confidence": 0.9},
            "tracking": {"experiment": "not a matter of results"},
        },
    }


def test_the_report_has_every_metric_of_both_models() -> None:
    text = markdown(**facts())
    for name in METRICS:
        direction = "lower" if name in LOSSES else "higher"
        cells = [f"{values[name]:.3f} (0.250 to 0.750)" for values in (BASELINE, IMAGE)]
        row = f"| {name} | {' | '.join(cells)} | {direction} |"
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


def test_the_report_warns_at_its_top() -> None:
    given = facts()
    assert "Warning" not in markdown(**given)
    given["comparison"]["test"]["roc_auc"]["image"] = 1.0
    given["data"]["source"]["name"] = "folder"
    above = markdown(**given).split(BODY)[0]
    assert "\n\n> Warning: The backbone has **random weights**" in above
    assert "\n\n> Warning: The image model's ROC-AUC of 1.000 on test is **suspicious**" in above
    sentence, first, second = top(markdown(**given))
    assert sentence == "The verdict's sentence."
    assert first.startswith("Warning: The backbone has random weights, and the images")
    assert second.startswith("Warning: The image model's ROC-AUC")


def test_the_report_says_how_the_bands_are_made() -> None:
    assert "the middle 90% of the curves of 2,000 bootstrap samples" in markdown(**facts())


def test_the_report_shows_the_figures_of_both_models() -> None:
    text = markdown(**facts())
    for name in ("baseline_scores", "image_scores", "baseline_confusion", "image_confusion"):
        assert text.count(f"](plots/{name}.png)") == 1


def test_the_report_tells_the_decision() -> None:
    given = facts()
    text = markdown(**given).split("## Decision")[1].split("## Data")[0]
    assert "Chosen on the 1,001 reals and 2,001 fakes of `valid`." in text
    assert "at most 3% of the fakes of `valid` lie below" in text
    for row in (
        "| temperature | 1.25 | 1.25 |",
        "| rule of the threshold | false positive rate 0.01 | false positive rate 0.01 |",
        "| threshold | 0.43 | 0.43 |",
        "| uncertain scores | 0.31 to 0.62 | 0.31 to 0.62 |",
        "| test images that are uncertain | 12.5% | 12.5% |",
        "| fakes of test below the limits | 2.1% | 2.1% |",
        "| reals of test above the limits | 3.4% | 3.4% |",
    ):
        assert row in text.splitlines()
    sensitivity = f"{BASELINE['recall']:.3f} (0.250 to 0.750)"
    assert f"| sensitivity (recall), exact 90% interval | {sensitivity} |" in text
    assert f"log loss from 0.777 to {IMAGE['log_loss']:.3f}" in text
    assert "Note" not in text
    given["decisions"]["image"]["notes"] = ("valid is too small.",)
    assert "\n\n> Note (image): valid is too small.\n\n" in markdown(**given)
    given["decisions"]["baseline"]["notes"] = ("valid is too small.",)
    assert "\n\n> Note (baseline and image): valid is too small.\n\n" in markdown(**given)


@pytest.mark.parametrize(("rule", "named"), [(0.5, "given"), ("youden", "youden")])
def test_the_report_names_the_rule(rule: Any, named: str) -> None:
    given = facts()
    given["decisions"]["image"]["rule"] = rule
    assert f"| rule of the threshold | false positive rate 0.01 | {named} |" in markdown(**given)


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


def test_the_report_tells_how_the_head_was_made() -> None:
    given = facts()
    assert "Head: 11 epochs, best after 9, validation ROC-AUC 0.7654." in markdown(**given)
    given["training"]["head"]["hidden"] = []
    assert "Head: linear, solved in 11 iterations, L2 penalty 0.1, v" in markdown(**given)


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
        "compare": {"bootstrap_samples": 2000, "confidence": 0.9},
    }


def test_the_report_leaves_its_arguments_as_they_were() -> None:
    given = facts()
    before = copy.deepcopy(given)
    markdown(**given)
    assert given == before
