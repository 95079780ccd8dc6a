"""What the page says, in words that no file name can turn into something else."""

import numpy as np
import pytest

from deepfake.serving import words
from deepfake.serving.description import Description
from deepfake.serving.detector import Prediction
from tests.support.serving import DECIDED


def description(**changed):
    values = {
        **DECIDED,
        "name": "probe, MobileNetV2",
        "recipe": "probe",
        "image_size": 64,
        "evaluation": {"test": {}, "images": {}, "source": {}, "external": {}},
        "trained_on": {"sources": ["faces *a*"], "images": {"real": 1200, "fake": 7}},
        "explanation": {"method": None},
        "files": {},
        "digest": "0" * 64,
    }
    return Description(**{**values, **changed})


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("face_1.jpg", r"face\_1\.jpg"),
        ("![x](http://evil/a.png)", r"\!\[x\]\(http\:\/\/evil\/a\.png\)"),
        ("<b>:red[a]$x$", r"\<b\>\:red\[a\]\$x\$"),
        ("a\u202eb\n# c", r"a\\u202eb\\n\# c"),
    ],
)
def test_names_are_no_markdown(given, shown):
    assert words.plain(given) == shown


@pytest.mark.parametrize(
    ("share", "said"),
    [(0.0, "less than 0.1%"), (0.0004, "less than 0.1%"), (0.5, "50.0%"), (1.0, "more than 99.9%")],
)
def test_a_probability_is_never_a_certainty(share, said):
    assert words.percent(share) == said


@pytest.mark.parametrize(
    ("verdict", "score", "said", "meant"),
    [
        ("fake", 0.9, "fake at **90.0%**", "from 0.600 on are called fake"),
        ("real", 0.1, "real at **90.0%**", "below 0.400 are called real"),
        ("uncertain", 0.5, "cannot tell", "from 0.400 to 0.600 are called neither"),
    ],
)
def test_a_verdict_in_words(verdict, score, said, meant):
    assert said in words.headline(score, verdict)
    assert meant in words.meaning(verdict, description())


@pytest.mark.parametrize(
    ("reason", "advice"),
    [("not an image", "JPEG"), ("too many pixels", "64 megapixels"), ("truncated", "damaged")],
)
def test_a_refusal_says_what_to_do(reason, advice):
    assert advice in words.advice(reason)
    assert reason in words.short(Prediction("a", None, None, reason))


def test_the_evaluation_names_what_was_measured_on_what():
    evaluation = {
        "test": {"roc_auc": {"value": 0.98, "low": 0.96, "high": 0.99}},
        "source": {"celeb": {"accuracy": {"value": 0.9, "low": 0.8, "high": 0.95}}},
        "external": {"wild": {"false_positive_rate": {"value": 0.25}}},
    }
    rows = [
        tuple(row.values()) for row in words.evaluation_rows(description(evaluation=evaluation))
    ]
    assert rows == [
        ("test", "ROC-AUC", "0.980 (0.960 to 0.990)"),
        (r"test\, from celeb", "accuracy", "0.900 (0.800 to 0.950)"),
        (r"never trained on\, wild", "reals called fake", "0.250"),
    ]


def test_what_it_was_trained_on():
    said = words.knowledge(description())
    assert "**1,200 real**" in said
    assert r"faces \*a\*" in said


def test_an_explanation_in_words():
    heat = np.zeros((30, 30), np.float32)
    heat[2, 28], heat[15, 15] = 3, -2
    assert words.strongest(heat) == (
        "the top right speaks most for fake, and the middle centre most for real"
    )
    assert words.strongest(np.abs(heat)).endswith("none for real")
