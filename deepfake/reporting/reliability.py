"""The figure that shows whether scores are right about themselves."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from deepfake.evaluation.calibration import reliability
from deepfake.evaluation.intervals import exact
from deepfake.reporting.drawing import COLORS, DASHED, GREY, drawing

_LARGEST = 160  # points², the area of the marker of a bin with all images


def draw(path: Path | str, tables: Mapping[str, pd.DataFrame], confidence: float) -> None:
    """Draw the share of fakes over the mean score of each bin, with the share's exact interval.

    Args:
        path: of the PNG.
        tables: the predictions of `baseline` and `image` on test. The image model is drawn before
            its temperature, too.
        confidence: of the intervals.
    """
    with drawing(path, 8.4, 4.8) as (figure, axes):
        axes.remove()
        left, right = figure.subplots(1, 2)
        for axis, model in ((left, "baseline"), (right, "image")):
            axis.plot([0, 1], [0, 1], label="as the scores say", **DASHED)
            axis.set(xlabel="mean score, P(fake)", ylabel="share of fakes", aspect="equal")
            axis.set(xlim=(-0.04, 1.04), ylim=(-0.04, 1.04), title=f"{model} model")
            axis.spines[["top", "right"]].set_visible(False)
            _points(axis, tables[model], "score", confidence, color=COLORS[model], label=model)
        before = {"color": GREY, "label": "image, before its temperature", "facecolor": "none"}
        _points(right, tables["image"], "uncalibrated", confidence, **before)
        handles = {
            label: handle
            for axis in (left, right)
            for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)
        }
        figure.legend(
            handles.values(), handles, loc="outside lower center", ncols=4, frameon=False,
            markerscale=0.7,
        )  # fmt: skip
        figure.suptitle("Reliability on test: the larger a point, the more images")


def _points(
    axes: Any, table: pd.DataFrame, column: str, confidence: float, *, color: str, **style: Any
) -> None:
    """Draw a point for each bin of the scores in a column, and a line for its interval."""
    bins = reliability(table["label"].to_numpy(), table[column].to_numpy())
    pairs = zip(bins["fakes"], bins["images"], strict=True)
    ends = [exact(int(fakes), int(images), confidence) for fakes, images in pairs]
    low, high = ([end[name] for end in ends] for name in ("low", "high"))
    axes.vlines(bins["score"], low, high, color=color, alpha=0.4, linewidth=1)
    area = 12 + _LARGEST * np.sqrt(bins["images"] / len(table))
    style = {"facecolor": color, **style}
    axes.scatter(bins["score"], bins["fakes"] / bins["images"], area, edgecolor=color, **style)
