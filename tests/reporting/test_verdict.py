"""Which model is better, in words."""

import math

import pytest

from deepfake.reporting.verdict import of_chance, verdict, warnings


def test_the_image_model_is_better() -> None:
    text = verdict({"difference": 0.3214, "low": 0.2001, "high": 0.4321}, 0.95)
    assert "the image model is better than the metadata baseline, by 0.321 in ROC-AUC" in text
    assert "95% interval +0.200 to +0.432" in text


def test_the_baseline_is_better() -> None:
    text = verdict({"difference": -0.3214, "low": -0.4321, "high": -0.2001}, 0.9)
    assert "the metadata baseline is better than the image model, by 0.321 in ROC-AUC" in text
    assert "90% interval -0.432 to -0.200" in text


@pytest.mark.parametrize("bounds", [(-0.02, 0.05), (0.0, 0.05), (-0.05, 0.0), (0.0, 0.0)])
def test_it_cannot_be_told_when_the_interval_holds_zero(bounds: tuple[float, float]) -> None:
    text = verdict({"difference": 0.0123, "low": bounds[0], "high": bounds[1]}, 0.95)
    assert "do not show which model is better" in text
    assert "image minus baseline is +0.012 in ROC-AUC" in text
    assert f"{bounds[0]:+.3f} to {bounds[1]:+.3f}" in text
    assert "better than the" not in text


@pytest.mark.parametrize(("confidence", "told"), [(0.975, "97.5%"), (0.999, "99.9%")])
def test_the_confidence_is_not_rounded_away(confidence: float, told: str) -> None:
    assert told in verdict({"difference": 0.3, "low": 0.2, "high": 0.4}, confidence)


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


def warned(
    baseline: float = 0.5, image: float = 0.9, source: str = "sample", weights: str = "random"
) -> list[str]:
    return warnings(
        {"source": {"name": source}},
        {"weights": weights},
        {"baseline": baseline, "image": image},
        ["bytes", "jpeg_quality", "width", "height"],
    )


def test_an_ordinary_result_has_no_warnings() -> None:
    assert warned() == []
    assert warned(0.9994, 0.9994) == []
    assert warned(source="kaggle", weights="imagenet") == []


@pytest.mark.parametrize("roc_auc", [0.9995, 1.0])
def test_a_perfect_baseline_is_suspicious(roc_auc: float) -> None:
    (text,) = warned(baseline=roc_auc)
    assert "The metadata baseline's ROC-AUC of 1.000 on test is **suspicious**" in text
    assert "plots/coefficients.png" in text
    assert "bytes, jpeg_quality, width)" in text


@pytest.mark.parametrize("roc_auc", [0.9995, 1.0])
def test_a_perfect_image_model_is_suspicious(roc_auc: float) -> None:
    (text,) = warned(image=roc_auc)
    assert "The image model's ROC-AUC of 1.000 on test is **suspicious**" in text
    assert "near_duplicates" in text
    assert "make inspect" in text


@pytest.mark.parametrize("source", ["kaggle", "folder"])
def test_random_weights_on_photographs_are_warned_of_with_the_command(source: str) -> None:
    (text,) = warned(source=source)
    assert "`dvc exp run -S backbone.weights=imagenet`" in text
    assert "$KERAS_HOME/models" in text


def test_warnings_add_up() -> None:
    assert len(warned(1.0, 1.0, "folder")) == 3
