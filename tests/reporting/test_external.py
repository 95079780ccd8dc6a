"""Data sets never trained on: section and figure."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from deepfake.reporting import external

PARAMS = {"compare": {"confidence": 0.9}}


def interval(value: float, low: float, high: float) -> dict[str, float]:
    return {"value": value, "low": low, "high": high}


def group(value: float, low: float, high: float) -> dict[str, Any]:
    """Both models with the same metrics, of both classes."""
    model = dict.fromkeys(external.SHOWN, interval(value, low, high))
    return {"real": 30, "fake": 20, "baseline": model, "image": model}


def one_class() -> dict[str, Any]:
    model = {"false_positive_rate": interval(0.1, 0.05, 0.2)}
    return {"real": 30, "fake": 0, "baseline": model, "image": model}


def said(name: str, copies: int = 0, near: int = 0) -> dict[str, Any]:
    trained_on = {"copies": copies, "near": near, "examples": ["real/1.jpg"]}
    return {"name": name, "counts": {"real": 30, "fake": 20}, "trained_on": trained_on}


TEST = group(0.95, 0.93, 0.97)


def test_without_a_set_nothing_is_said() -> None:
    assert external.section({}, [], PARAMS) == []


@pytest.mark.parametrize(
    ("found", "told"),
    [
        (group(0.94, 0.91, 0.96), "celeb (0.940), without a loss that shows."),
        (group(0.70, 0.60, 0.80), "celeb (0.700), in part: better than chance"),
        (group(0.52, 0.45, 0.60), "celeb (0.520), not at all: no better than chance."),
        (group(0.70, 0.40, 0.96), "celeb (0.700), too few images to tell."),
        (group(0.67, 0.36, 0.94), "celeb (0.670), too few images to tell."),
        (group(0.10, 0.05, 0.20), "celeb (0.100), not at all: worse than chance."),
    ],
)
def test_the_sentence_says_how_far_results_carry(found: dict[str, Any], told: str) -> None:
    (sentence,) = external.carries({"test": TEST, "celeb": found})
    assert sentence.startswith("How far the image model's ROC-AUC of 0.950 on test carries: ")
    assert told in sentence


def test_a_set_of_one_class_has_its_error_rate_alone() -> None:
    groups = {"test": TEST, "reals": one_class()}
    assert external.carries(groups) == []
    text = "\n".join(external.section(groups, [said("reals")], PARAMS))
    rate = "0.100 (0.050 to 0.200)"
    assert f"| reals | 30 | 0 | image | – | – | – | {rate} | – |" in text
    assert "90% intervals" in text
    assert "Warning" not in text


def test_images_of_training_are_told_by_the_name_of_the_set() -> None:
    groups = {"test": TEST, "celeb": TEST}
    text = "\n".join(external.section(groups, [said("celeb", copies=3, near=1)], PARAMS))
    assert "> Warning: among the 50 images of **celeb** there are copies" in text
    assert "valid (3) or near-duplicates (1), such as real/1.jpg." in text


def test_the_figure_shows_each_set_and_depends_on_its_values_alone(tmp_path: Path) -> None:
    groups = {"test": TEST, "celeb": group(0.7, 0.6, 0.8), "reals": one_class()}
    for name, changed in (("a", groups), ("b", groups), ("c", {**groups, "celeb": TEST})):
        external.draw(tmp_path / f"{name}.png", changed, 0.95)
    first, again, other = (np.asarray(Image.open(tmp_path / f"{n}.png")) for n in "abc")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert first.shape == other.shape
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
