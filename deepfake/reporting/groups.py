"""Tables of metrics of groups of images, and what the report says about each source."""

from typing import Any

MODELS = ("baseline", "image")
HEADINGS = {
    "roc_auc": "ROC-AUC",
    "average_precision": "average precision",
    "eer": "EER",
    "accuracy": "accuracy",
    "false_positive_rate": "false positive rate",
    "false_negative_rate": "false negative rate",
}


def sources_section(groups: dict[str, dict[str, Any]], confidence: float) -> list[str]:
    """The paragraphs about each source.

    Args:
        groups: what `each_source` returned.
        confidence: of the intervals.

    Returns:
        Nothing if there is only one source.
    """
    if not groups:
        return []
    shown = ("roc_auc", "average_precision", "eer", "accuracy")
    return [
        "## Each source",
        "The test images of each source by themselves, with the "
        f"{100 * confidence:g}% interval of each metric. Together they are the table above.",
        table("source", groups, shown),
    ]


def table(what: str, groups: dict[str, dict[str, Any]], shown: tuple[str, ...]) -> str:
    """A table with a row for each group and model.

    Args:
        what: the heading of the groups' names.
        groups: what `both_models` returned of each group.
        shown: the metrics.
    """
    headings = [what, "real", "fake", "model", *(HEADINGS[name] for name in shown)]
    rows = [_row(headings), f"|---|---:|---:|---|{'---:|' * len(shown)}"]
    for name, group in groups.items():
        for model in MODELS:
            counts = [f"{group[kind]:,}" for kind in ("real", "fake")]
            cells = [_cell(group[model].get(metric)) for metric in shown]
            rows.append(_row([name, *counts, model, *cells]))
    return "\n".join(rows)


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(found: dict[str, float] | None) -> str:
    if found is None:
        return "–"
    return f"{found['value']:.3f} ({found['low']:.3f} to {found['high']:.3f})"
