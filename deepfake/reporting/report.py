"""The report: what was measured, on what, with both models side by side, as Markdown."""

from collections.abc import Sequence
from typing import Any

import yaml

from deepfake.common.labels import SPLITS
from deepfake.evaluation.comparison import LOSSES
from deepfake.reporting import decision_section, external, verdict
from deepfake.reporting.decision_section import with_interval
from deepfake.reporting.groups import sources_section

# The heading up to which the report is what a run prints at its end.
BODY = "## Both models on the test images"
_SAMPLE_NOTE = (
    "> The images are the built-in sample: portraits drawn by this project. It is a test card "
    "that shows that everything works. What the models reach on it says nothing about "
    "photographs."
)


def markdown(
    *,
    sentence: str,
    features: Sequence[str],
    data: dict[str, Any],
    backbone: dict[str, Any],
    training: dict[str, Any],
    comparison: dict[str, Any],
    intervals: dict[str, Any],
    decisions: dict[str, Any],
    groups: dict[str, Any],
    sets: list[dict[str, Any]],
    params: dict[str, Any],
) -> str:
    """Write the report.

    Args:
        sentence: the verdict.
        features: what the baseline relies on, most important first.
        data, backbone, training, comparison, intervals, groups: the JSON files of the stages.
        decisions: of each model; see `decision_section.markdown`.
        sets: what the stage `external` said about each data set never trained on.
        params: `params.yaml`.
    """
    parts = ["# Real faces or deepfakes: the report", sentence]
    if data["source"]["name"] == "sample":
        parts.append(_SAMPLE_NOTE)
    auc = comparison["test"]["roc_auc"]
    parts += [f"> Warning: {text}" for text in verdict.warnings(data, backbone, auc, features)]
    parts += [
        BODY,
        _comparison_table(comparison, intervals),
        _interval_sentence(params["compare"]),
        _baseline_sentence(data, auc["baseline"]),
        "![ROC curves of both models](plots/roc.png)",
        _band_sentence(params["compare"]),
        _figures_table(),
        "## Decision",
        decision_section.markdown(
            decisions, comparison["test"], intervals, params["compare"]["confidence"]
        ),
        *sources_section(groups["source"], params["compare"]["confidence"]),
        *external.section(groups["external"], sets, params),
        "## Data",
        _data_table(data),
        _bad_sentence(data),
        "## Image model",
        _model_lines(backbone, training),
        "![Training of the image model](plots/history.png)",
        "## Metadata baseline",
        "![What the baseline relies on](plots/coefficients.png)",
        "## Parameters",
        _parameters(params),
    ]
    return "\n\n".join(parts) + "\n"


def top(text: str) -> list[str]:
    """The paragraphs of a report above its first table, without marks: verdict, note, warnings."""
    _, *paragraphs = text.split(BODY)[0].strip().split("\n\n")
    return [paragraph.removeprefix("> ").replace("**", "") for paragraph in paragraphs]


def _parameters(params: dict[str, Any]) -> str:
    """The parameters on which results can depend; of the sources, the one in use,
    and of the recipes."""
    sources = {"sample", "kaggle", "folder"} - {params["data"]["source"]}
    used = {
        name: section for name, section in params.items() if name not in ("execution", "tracking")
    }
    used["data"] = {name: value for name, value in used["data"].items() if name not in sources}
    recipes = {"transfer", "cnn"} - {params["train"]["recipe"]}
    used["train"] = {name: value for name, value in used["train"].items() if name not in recipes}
    return f"```yaml\n{yaml.safe_dump(used, sort_keys=False, width=100)}```"


def _comparison_table(comparison: dict[str, Any], intervals: dict[str, Any]) -> str:
    rows = ["| metric | baseline | image | better is |", "|---|---:|---:|---|"]
    for name, values in comparison["test"].items():
        direction = "lower" if name in LOSSES else "higher"
        cells = [with_interval(values[model], intervals[model][name]) for model in values]
        rows.append(f"| {name} | {' | '.join(cells)} | {direction} |")
    return "\n".join(rows)


def _interval_sentence(compare: dict[str, Any]) -> str:
    return (
        f"In brackets: {100 * compare['confidence']:g}% intervals, exact ones of recall and "
        "specificity, of the others by bootstrap over the test images. They say how much depends "
        "on which images were drawn, and nothing about another training."
    )


def _baseline_sentence(data: dict[str, Any], auc: float) -> str:
    counts = data["counts"]["test"]
    return (
        f"The baseline, which sees the files' metadata and no pixel, has a test ROC-AUC of "
        f"{auc:.3f}: {verdict.of_chance(auc, counts['real'], counts['fake'])}."
    )


def _band_sentence(compare: dict[str, Any]) -> str:
    return (
        f"Bands: the middle {100 * compare['confidence']:g}% of the curves of "
        f"{compare['bootstrap_samples']:,} bootstrap samples of the test images, at each false "
        "positive rate. Every image's score and path is in `data/predictions/`."
    )


def _figures_table() -> str:
    rows = ["| metadata baseline | image model |", "|---|---|"]
    for kind, text in (("scores", "Scores of each class"), ("confusion", "Confusion matrix")):
        cells = [f"![{text}](plots/{model}_{kind}.png)" for model in ("baseline", "image")]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def _data_table(data: dict[str, Any]) -> str:
    sources = data["source"].get("sources", [data["source"]])
    rows = [f"Source: {_described(source)}." for source in sources]
    rows = ["\n\n".join(rows), "", "| split | real | fake |", "|---|---:|---:|"]
    for split in SPLITS:
        counts = data["counts"][split]
        rows.append(f"| {split} | {counts['real']:,} | {counts['fake']:,} |")
    return "\n".join(rows)


def _described(source: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in source.items() if value)


def _bad_sentence(data: dict[str, Any]) -> str:
    bad = data["bad"]
    if not bad["count"]:
        return "Every image of the source could be read."
    reasons = ", ".join(f"{reason}: {count}" for reason, count in bad["reasons"].items())
    return f"Left out as unusable: {bad['count']} images ({reasons})."


def _model_lines(backbone: dict[str, Any], training: dict[str, Any]) -> str:
    if training["recipe"] == "cnn":
        return (
            f"- A network of {training['parameters']:,} parameters, trained from scratch (recipe "
            f"`cnn`), precision {training['precision']}.\n"
            f"- Training: {_phase(training['network'])}"
        )
    tuned = training["fine_tune"]
    described = f"{training['dimensions']:,} feature statistics per view"
    if training["recipe"] == "transfer":
        described = "average pooling (recipe `transfer`)"
    lines = [
        f"- {backbone['name']}, alpha {backbone['alpha']}, with **{backbone['weights']} weights**, "
        f"{described}, precision {training['precision']}.",
        f"- Head: {_head(training['head'])}",
    ]
    if not tuned["epochs"]:
        lines.append("- Fine-tuning: none.")
    elif tuned["kept"]:
        lines.append(f"- Fine-tuning: {_phase(tuned)}")
    else:
        lines.append(
            f"- Fine-tuning: {tuned['epochs']} epochs, none better on `valid` than the head on "
            "the frozen network, which was kept."
        )
    return "\n".join(lines)


def _head(summary: dict[str, Any]) -> str:
    if summary.get("hidden") != []:
        return _phase(summary)
    return (
        f"linear, solved in {summary['epochs']} iterations, L2 penalty "
        f"{summary['weight_decay']:g}, validation ROC-AUC {summary['valid_roc_auc']:.4f}."
    )


def _phase(summary: dict[str, Any]) -> str:
    return (
        f"{summary['epochs']} epochs, best after {summary['best_epoch']}, validation ROC-AUC "
        f"{summary['valid_roc_auc']:.4f}."
    )
