"""What the page says of a score and of a detector, in Markdown."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepfake.common.text import shown
from deepfake.data.images import MAX_PIXELS, MAX_SIDE
from deepfake.serving.description import Description
from deepfake.serving.detector import Prediction

_SIGNS = {"fake": "⚠", "real": "✓", "uncertain": "?", None: "✕"}
_METRICS = {
    "roc_auc": "ROC-AUC",
    "accuracy": "accuracy",
    "recall": "fakes found (recall)",
    "specificity": "reals recognised (specificity)",
    "false_positive_rate": "reals called fake",
    "false_negative_rate": "fakes called real",
}
_MARKDOWN = re.compile(r"([!-/:-@\[-`{-~])")  # all of ASCII's punctuation


def plain(text: str, longest: int = 200) -> str:
    """Text from outside as Markdown that shows just this text: no link, no image, no colour.

    Args:
        longest: characters that are shown.
    """
    return _MARKDOWN.sub(r"\\\1", shown(text, longest))


def signed(verdict: str | None) -> str:
    """A verdict with its sign."""
    return f"{_SIGNS[verdict]} {verdict or 'refused'}"


def short(prediction: Prediction) -> str:
    """A prediction in a few words."""
    if prediction.score is None:
        return f"refused, {prediction.reason}"
    return f"{prediction.verdict}, P(fake) {prediction.score:.3f}"


def advice(reason: str) -> str:
    """What to do about an image that was refused."""
    if reason in ("not an image", "unsupported pixel type", "too many scans"):
        return "Save it as JPEG or PNG, and try that file."
    if reason == "side too long":
        return f"Shrink it to at most {MAX_SIDE:,} pixels a side."
    if reason == "too many pixels":
        return f"Shrink it to at most {MAX_PIXELS // 10**6} megapixels."
    return "Get the original file again: this one is damaged."


def percent(share: float) -> str:
    """A probability as a reader expects it; never a certainty."""
    if share < 0.001:
        return "less than 0.1%"
    return "more than 99.9%" if share > 0.999 else f"{share:.1%}"


def headline(score: float, verdict: str) -> str:
    """The verdict and its confidence, one sentence each."""
    estimate = f"The model estimates the probability that it is fake at **{percent(score)}**"
    if verdict == "real":
        estimate += f", so that it is real at **{percent(1 - score)}**"
    said = {
        "fake": "This image is probably **fake**.",
        "real": "This image is probably **real**.",
        "uncertain": "**Uncertain**: the model cannot tell.",
    }
    return f"{said[verdict]} {estimate}."


def meaning(verdict: str, description: Description) -> str:
    """What a verdict means: the thresholds, and how often they are wrong."""
    lower, upper = f"{description.lower:.3f}", f"{description.upper:.3f}"
    rate = f"at most {description.error_rate:.1%} of the"
    return {
        "fake": f"Scores from {upper} on are called fake: among the images that the thresholds "
        f"were chosen on, {rate} real ones scored that high.",
        "real": f"Scores below {lower} are called real: among the images that the thresholds "
        f"were chosen on, {rate} fake ones scored that low.",
        "uncertain": f"Scores from {lower} to {upper} are called neither, because real and fake "
        "images both score there.",
    }[verdict]


CAUTION = (
    "The probability is calibrated: of images like those that the model was evaluated on, about 80 "
    "in 100 with a score of 0.8 are fake. Where fakes are rarer than there, the probability is "
    "too high. On other kinds of images, the model may be wrong and sure at the same time. A score "
    "is a hint, not a proof."
)


def knowledge(description: Description) -> str:
    """What the model was trained on, and how far that carries."""
    trained, counts = description.trained_on, description.trained_on["images"]
    sources = ", ".join(plain(str(source)) for source in trained["sources"])
    return (
        f"The model ({plain(description.name)}) was trained on **{counts['real']:,} real** and "
        f"**{counts['fake']:,} fake** images of {sources}. It knows the kinds of fakes that are "
        "among them, and no others: an image of another generator, another camera or another crop "
        "is outside what it knows, even if it shows a face. The table says how well it did on "
        "images that it had not seen."
    )


def evaluation_rows(description: Description) -> list[dict[str, str]]:
    """The evaluation as a table: on the test images, on each of their sources, and elsewhere."""
    evaluation = description.evaluation
    tables = {"test": evaluation["test"]}
    tables |= {f"test, from {name}": one for name, one in evaluation["source"].items()}
    tables |= {f"never trained on, {name}": one for name, one in evaluation["external"].items()}
    return [
        {"images": plain(where), "metric": name, "value (interval)": _with_interval(metrics[key])}
        for where, metrics in tables.items()
        for key, name in _METRICS.items()
        if key in metrics
    ]


def _with_interval(metric: Mapping[str, Any]) -> str:
    if metric["value"] is None:
        return "–"
    if metric.get("low") is None or metric.get("high") is None:
        return f"{metric['value']:.3f}"
    return f"{metric['value']:.3f} ({metric['low']:.3f} to {metric['high']:.3f})"


def strongest(heat: NDArray[np.float32]) -> str:
    """Which of the nine fields of an image speak most for fake and for real, in words.

    Args:
        heat: shape (s, s), above 0 where it speaks for fake, below 0 where for real.
    """
    rows, columns = ("top", "middle", "bottom"), ("left", "centre", "right")
    # The sums over nine fields of the square.
    sums = {
        f"{rows[row]} {columns[column]}": float(field.sum())
        for row, band in enumerate(np.array_split(heat, 3, axis=0))
        for column, field in enumerate(np.array_split(band, 3, axis=1))
    }
    fake, real = max(sums, key=lambda name: sums[name]), min(sums, key=lambda name: sums[name])
    said = f"the {fake} speaks most" if sums[fake] > 0 else "none speaks"
    other = f"the {real} most" if sums[real] < 0 else "none"
    return f"{said} for fake, and {other} for real"
