"""What a detector is, how its scores are read, and how far they carry: in words, for people."""

from collections.abc import Iterator, Mapping
from typing import Any

from deepfake.common.text import shown
from deepfake.serving.description import Description

LIMITS = (
    "A detector knows the ways of faking that it was trained on, and no other. On images of "
    "another generator, camera or size, or compressed more, it can be wrong far more often than "
    "the figures here say. A score is a reason to look closer, not proof."
)
_NAMES = {
    "roc_auc": "ROC-AUC", "accuracy": "accuracy", "recall": "fakes found",
    "specificity": "reals recognised", "false_positive_rate": "reals called fake",
    "false_negative_rate": "fakes called real",
}  # fmt: skip


def about(found: Description) -> list[tuple[str, str]]:
    """What a detector is: the subject of each sentence, and the sentence."""
    lines = [
        ("model", f"{found.name}; digest {found.digest[:16]}"),
        ("trained on", _trained_on(found.trained_on)),
        ("score", "the probability that the image is fake, 0 to 1, calibrated"),
        ("verdict", reading(found)),
        *_evaluation(found.evaluation),
        *(("note", shown(note)) for note in found.notes),
        ("how far it carries", LIMITS),
    ]
    return lines


def reading(found: Description) -> str:
    """How a score becomes a verdict."""
    if found.lower == found.upper:
        return f"fake from a score of {found.upper:.3f} on, real below it"
    return (
        f"fake from a score of {found.upper:.3f} on, real below {found.lower:.3f}, uncertain "
        f"between them; chosen so that at most {found.error_rate:.1%} of the reals and of the "
        "fakes among the validation images lie on the wrong side"
    )


def _trained_on(found: Mapping[str, Any]) -> str:
    sources = ", ".join(shown(str(name)) for name in found.get("sources", ())) or "unnamed sources"
    weights = shown(str(found.get("weights", "unknown")))
    return f"{_images(found.get('images', {}))} of {sources}; the backbone's weights: {weights}"


def _evaluation(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The metrics on the images of `test`, on each source of them, and on other data sets."""
    if "test" in found:
        yield (
            "test images",
            f"{_metrics(found['test'])}; on {_images(found.get('images', {}))} that it was not "
            "trained on",
        )
    for name, metrics in found.get("source", {}).items():
        yield f"test images of {shown(name)}", _metrics(metrics)
    for name, metrics in found.get("external", {}).items():
        yield f"{shown(name)}, never trained on", _metrics(metrics)


def _metrics(found: Mapping[str, Any]) -> str:
    """Such as `ROC-AUC 0.985 (0.972 to 0.994), accuracy 0.963`."""
    return ", ".join(
        f"{label} {_value(found[name])}" for name, label in _NAMES.items() if name in found
    )


def _value(found: Any) -> str:
    value = found["value"]
    if value is None:
        return "unknown"
    if found.get("low") is None:
        return f"{value:.3f}"
    return f"{value:.3f} ({found['low']:.3f} to {found['high']:.3f})"


def _images(counts: Mapping[str, int]) -> str:
    known = [f"{counts[name]:,} {name}" for name in ("real", "fake") if name in counts]
    return f"{' and '.join(known) or 'unknown numbers of'} images"
