"""What the report says and shows of data sets that the models were never trained on."""

from pathlib import Path
from typing import Any

import numpy as np

from deepfake.reporting.drawing import COLORS, DASHED, drawing
from deepfake.reporting.groups import HEADINGS, MODELS, table

_NEAR_CHANCE = 0.6  # up to here a ROC-AUC is of no use, whatever it is exactly
SHOWN = ("roc_auc", "average_precision", "eer", "false_positive_rate", "false_negative_rate")


def section(
    groups: dict[str, dict[str, Any]], sets: list[dict[str, Any]], params: dict[str, Any]
) -> list[str]:
    """The paragraphs about the data sets never trained on; none if there is no such set.

    Args:
        groups: what `both_models` returned of `test` and of each set.
        sets: what the stage `external` said about each.
        params: `params.yaml`.
    """
    if not sets:
        return []
    confidence = 100 * params["compare"]["confidence"]
    return [
        "## Data never trained on",
        *carries(groups),
        *(text for one in sets if (text := _warning(one))),
        table("data set", groups, SHOWN),
        f"In brackets: {confidence:g}% intervals. Error rates are at the threshold of the table "
        "above; a data set of one class has the error rate of that class alone. Average precision "
        "also depends on the share of fakes.",
        "![Both models on each data set](plots/external.png)",
    ]


def carries(groups: dict[str, dict[str, Any]]) -> list[str]:
    """One sentence, or none: how far the image model's ROC-AUC on test carries to each set.

    Args:
        groups: what `both_models` returned of `test` and of each set.
    """
    found = {name: group["image"].get("roc_auc") for name, group in groups.items()}
    test = found.pop("test")
    told = [
        f"{name} ({one['value']:.3f}), {_how_far(one, test)}" for name, one in found.items() if one
    ]
    if not told:
        return []
    return [
        f"How far the image model's ROC-AUC of {test['value']:.3f} on test carries: "
        f"{'; '.join(told)}."
    ]


def _how_far(roc_auc: dict[str, float], test: dict[str, float]) -> str:
    """By where the interval lies between chance and the value on test."""
    chance, like_test = roc_auc["low"] <= 0.5, roc_auc["high"] >= test["value"]
    if roc_auc["high"] < 0.5:
        return "not at all: worse than chance"
    if chance and (like_test or roc_auc["high"] > _NEAR_CHANCE):
        return "too few images to tell"
    if chance:
        return "not at all: no better than chance"
    if like_test:
        return "without a loss that shows"
    return "in part: better than chance, worse than on test"


def _warning(one: dict[str, Any]) -> str | None:
    trained_on = one["trained_on"]
    if not trained_on["copies"] + trained_on["near"]:
        return None
    return (
        f"> Warning: among the {sum(one['counts'].values()):,} images of **{one['name']}** there "
        f"are copies of images of train or valid ({trained_on['copies']:,}) or near-duplicates "
        f"({trained_on['near']:,}), such as {', '.join(trained_on['examples'])}. Its metrics are "
        "too good."
    )


def draw(path: Path | str, groups: dict[str, dict[str, Any]], confidence: float) -> None:
    """Draw `SHOWN` of both models on test and on each set, with the intervals.

    Args:
        path: of the PNG.
        groups: what `both_models` returned of `test` and of each set.
        confidence: of the intervals.
    """
    places = np.arange(len(groups))
    with drawing(path, 13, 1.9 + 0.5 * len(groups)) as (figure, axes):
        axes.remove()
        panels = figure.subplots(1, len(SHOWN), sharey=True)
        for panel, metric in zip(panels, SHOWN, strict=True):
            for model, shift in zip(MODELS, (-0.12, 0.12), strict=True):
                found = [group[model].get(metric) for group in groups.values()]
                for place, one in zip(places, found, strict=True):
                    if one:
                        panel.plot([one["low"], one["high"]], [place + shift] * 2, COLORS[model])
                        panel.plot(one["value"], place + shift, "o", color=COLORS[model])
            if metric == "roc_auc":
                panel.axvline(0.5, **DASHED)
            panel.set(xlim=(-0.03, 1.03), xlabel=HEADINGS[metric], yticks=places)
            panel.set(yticklabels=list(groups), ylim=(len(groups) - 0.5, -0.5))
            panel.set(xticks=[0, 0.5, 1])
            panel.spines[["top", "right"]].set_visible(False)
        for model in MODELS:
            panels[0].plot([], [], "o-", color=COLORS[model], label=model)
        panels[0].plot([], [], label="chance", **DASHED)
        figure.legend(loc="outside lower center", ncols=3, frameon=False)
        figure.suptitle(
            f"Data never trained on, next to test, with {100 * confidence:g}% intervals"
        )
