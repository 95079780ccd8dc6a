"""The figure that shows whether scores are right about themselves."""

from collections.abc import Mapping
from pathlib import Path

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
    series = (
        ("image", "uncalibrated", "image, before its temperature", GREY, "none"),
        ("image", "score", "image", COLORS["image"], COLORS["image"]),
        ("baseline", "score", "baseline", COLORS["baseline"], COLORS["baseline"]),
    )
    with drawing(path, 5.2, 5.2) as (figure, axes):
        axes.plot([0, 1], [0, 1], label="as it says", **DASHED)
        for model, column, label, color, face in series:
            table = tables[model]
            bins = reliability(table["label"].to_numpy(), table[column].to_numpy())
            shares = bins["fakes"] / bins["images"]
            pairs = zip(bins["fakes"], bins["images"], strict=True)
            ends = [exact(int(fakes), int(images), confidence) for fakes, images in pairs]
            low, high = ([end[name] for end in ends] for name in ("low", "high"))
            axes.vlines(bins["score"], low, high, color=color, alpha=0.35, linewidth=1)
            sizes = 12 + _LARGEST * np.sqrt(bins["images"] / len(table))
            axes.scatter(
                bins["score"], shares, s=sizes, edgecolor=color, facecolor=face, alpha=0.8,
                label=label, zorder=3,
            )  # fmt: skip
        axes.set(xlabel="mean score, P(fake)", ylabel="share of fakes", aspect="equal")
        axes.set(xlim=(-0.04, 1.04), ylim=(-0.04, 1.04), title="Reliability on test")
        legend = figure.legend(loc="outside lower center", ncols=2, frameon=False)
        for handle in legend.legend_handles[1:]:
            handle.set_sizes([40])
