"""The section "Decision" of the report: how scores are read, and how often that is right."""

from collections.abc import Mapping
from typing import Any

from deepfake.params import Rule

MODELS = ("baseline", "image")


def markdown(
    decisions: Mapping[str, Mapping[str, Any]],
    comparison: Mapping[str, Mapping[str, float]],
    intervals: Mapping[str, Mapping[str, Mapping[str, float]]],
    confidence: float,
) -> str:
    """Write the section, without its heading.

    Args:
        decisions: for each model its `Decision` as a dict, and `on_test`, what
            `decision.on_test` returned.
        comparison: each metric on `test`, for both models.
        intervals: the interval of each metric, for both models.
        confidence: of the intervals.
    """
    parts = [
        _chosen(decisions["image"]),
        _table(decisions, comparison, intervals, confidence),
        _calibration(decisions["image"], comparison),
        *_notes(decisions),
        "![Reliability before and after the temperature](plots/reliability.png)",
        f"Each point is a bin of scores, with the exact {100 * confidence:g}% interval of its "
        "share of fakes.",
    ]
    return "\n\n".join(parts)


def with_interval(value: float, interval: Mapping[str, float]) -> str:
    """A metric and its interval, as `0.975 (0.957 to 0.989)`."""
    return f"{value:.3f} ({interval['low']:.3f} to {interval['high']:.3f})"


def _notes(decisions: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What `valid` was too small for, each sentence once, with the models that it is about."""
    having: dict[str, list[str]] = {}
    for model in MODELS:
        for text in decisions[model]["notes"]:
            having.setdefault(text, []).append(model)
    return [f"> Note ({' and '.join(models)}): {text}" for text, models in having.items()]


def _chosen(decided: Mapping[str, Any]) -> str:
    rate = f"{100 * decided['error_rate']:g}%"
    return (
        f"Chosen on the {decided['reals']:,} reals and {decided['fakes']:,} fakes of `valid`. "
        "Scores from the threshold on are predicted fake. Between two limits around it they are "
        f"uncertain: at most {rate} of the fakes of `valid` lie below the limits, and at most "
        f"{rate} of its reals above."
    )


def _rule(rule: Rule) -> str:
    if isinstance(rule, dict):
        return f"false positive rate {rule['fpr']:g}"
    return rule if isinstance(rule, str) else "given"


def _table(
    decisions: Mapping[str, Mapping[str, Any]],
    comparison: Mapping[str, Mapping[str, float]],
    intervals: Mapping[str, Mapping[str, Mapping[str, float]]],
    confidence: float,
) -> str:
    def row(name: str, *cells: str) -> str:
        return f"| {name} | {' | '.join(cells)} |"

    both = [decisions[model] for model in MODELS]
    lines = [row("", *MODELS), "|---|---:|---:|"]
    lines.append(row("temperature", *(f"{one['temperature']:g}" for one in both)))
    lines.append(row("rule of the threshold", *(_rule(one["rule"]) for one in both)))
    lines.append(row("threshold", *(f"{one['threshold']:g}" for one in both)))
    for metric, name in (("recall", "sensitivity (recall)"), ("specificity", "specificity")):
        cells = (
            with_interval(comparison[metric][model], intervals[model][metric]) for model in MODELS
        )
        lines.append(row(f"{name}, exact {100 * confidence:g}% interval", *cells))
    limits = (f"{round(one['lower'], 4):g} to {round(one['upper'], 4):g}" for one in both)
    lines.append(row("uncertain scores", *limits))
    for key, name in (
        ("uncertain", "test images that are uncertain"),
        ("fakes_called_real", "fakes of test below the limits"),
        ("reals_called_fake", "reals of test above the limits"),
    ):
        lines.append(row(name, *(f"{one['on_test'][key]:.1%}" for one in both)))
    return "\n".join(lines)


def _calibration(image: Mapping[str, Any], comparison: Mapping[str, Mapping[str, float]]) -> str:
    before = image["on_test"]
    changes = [
        f"{name} from {before[f'uncalibrated_{metric}']:.3f} to {comparison[metric]['image']:.3f}"
        for metric, name in (("log_loss", "log loss"), ("ece", "expected calibration error"))
    ]
    return (
        f"The image model's temperature, which has the least log loss on `valid`, takes "
        f"{' and '.join(changes)} on `test`. It changes no order of the scores. The baseline has "
        "none: a logistic regression fits its scores to the shares in `train` already."
    )
