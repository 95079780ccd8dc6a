"""Every figure of the pipeline as a PNG, drawn from the CSVs and JSONs of the stages."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from deepfake.common import paths
from deepfake.common.files import read_json, replacing
from deepfake.common.labels import LABEL_NAMES

COLORS = {"baseline": "#8a6d3b", "image": "#1f6fb4", "train": "#8a8a8a", "valid": "#1f6fb4"}
_CHANCE = {"color": "#b0b0b0", "linestyle": "--", "linewidth": 1}
_FALSE_POSITIVE_RATE = "false positive rate (reals predicted fake)"
_TRUE_POSITIVE_RATE = "true positive rate (fakes predicted fake)"


def draw_all() -> None:
    """Draw every figure into `plots/`, from the curves, history and metrics that stages wrote."""
    curves = {}
    for model in ("baseline", "image"):
        folder, test = paths.curves(model), read_json(paths.metrics_file(model))["test"]
        curves[model] = pd.read_csv(folder / "roc.csv"), test["roc_auc"]
        one = {model: curves[model]}
        roc(paths.figure(model, "roc"), one, f"ROC on test, {model} model")
        actual = pd.read_csv(folder / "confusion.csv")
        precision_recall(
            paths.figure(model, "precision_recall"),
            model,
            pd.read_csv(folder / "precision_recall.csv"),
            test["average_precision"],
            float(np.mean(actual["actual"] == "fake")),
        )
        confusion(paths.figure(model, "confusion"), model, actual)
    roc(paths.FIGURES / "roc.png", curves, "ROC on test, both models")
    history(paths.FIGURES / "history.png", pd.read_csv(paths.HISTORY))
    weights = pd.read_csv(paths.curves("baseline") / "coefficients.csv")
    coefficients(paths.FIGURES / "coefficients.png", weights)


@contextmanager
def drawing(path: Path | str, width: float = 5.2, height: float = 4.6) -> Iterator[Any]:
    """Yield (figure, axes), then save the figure.

    It needs no window system, and the file holds no time, version or other trace, so that the same
    curve gives the same bytes.
    """
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # whatever a matplotlibrc of the user's says
        figure = Figure(figsize=(width, height), dpi=120, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        yield figure, axes
        axes.spines[["top", "right"]].set_visible(False)
        with replacing(path) as partial:
            figure.savefig(partial, format="png", metadata={"Software": None})


def roc(path: Path | str, curves: dict[str, tuple[pd.DataFrame, float]], title: str) -> None:
    """Draw ROC curves.

    Args:
        path: the PNG.
        curves: for each model, a table with the columns `fpr` and `tpr`, and its ROC-AUC.
        title: of the figure.
    """
    with drawing(path) as (_, axes):
        axes.plot([0, 1], [0, 1], label="chance", **_CHANCE)
        for name, (curve, auc) in curves.items():
            axes.plot(
                curve["fpr"], curve["tpr"], color=COLORS[name], label=f"{name}, AUC {auc:.3f}"
            )
        axes.set(xlabel=_FALSE_POSITIVE_RATE, ylabel=_TRUE_POSITIVE_RATE, title=title)
        axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
        axes.legend(loc="lower right", frameon=False)


def precision_recall(
    path: Path | str, name: str, curve: pd.DataFrame, average_precision: float, fakes: float
) -> None:
    """Draw precision over recall of model `name`; `fakes`, in [0, 1], is the share of fakes."""
    with drawing(path) as (_, axes):
        axes.axhline(fakes, label="chance", **_CHANCE)
        axes.step(
            curve["recall"],
            curve["precision"],
            where="post",
            color=COLORS[name],
            label=f"{name}, average precision {average_precision:.3f}",
        )
        axes.set(
            xlabel="recall (true positive rate)",
            ylabel="precision (share of fakes among predicted fakes)",
            title=f"Precision and recall on test, {name} model",
        )
        axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
        axes.legend(loc="lower left", frameon=False)


def confusion(path: Path | str, name: str, names: pd.DataFrame) -> None:
    """Draw how many images of each class (`actual`) were predicted as which (`predicted`)."""
    classes = list(LABEL_NAMES.values())
    counts = pd.crosstab(names["actual"], names["predicted"]).reindex(
        index=classes, columns=classes, fill_value=0
    )
    with drawing(path, 4.4, 4.0) as (figure, axes):
        image = axes.imshow(counts, cmap="Blues", vmin=0)
        for row in range(2):
            for column in range(2):
                value = int(counts.to_numpy()[row, column])
                dark = value > counts.to_numpy().max() / 2
                axes.text(
                    column,
                    row,
                    f"{value:,}",
                    ha="center",
                    va="center",
                    fontsize=14,
                    color="white" if dark else "black",
                )
        axes.set(xticks=[0, 1], xticklabels=classes, yticks=[0, 1], yticklabels=classes)
        axes.set(xlabel="predicted", ylabel="actual", title=f"Test images, {name} model")
        figure.colorbar(image, ax=axes, shrink=0.8, label="images")


def history(path: Path | str, table: pd.DataFrame) -> None:
    """Draw loss and ROC-AUC over the epochs of both phases of training (`history.csv`)."""
    with drawing(path, 8.4, 3.8) as (figure, axes):
        axes.remove()
        left, right = figure.subplots(1, 2)
        for axis, metric, name in ((left, "loss", "log loss"), (right, "roc_auc", "ROC-AUC")):
            for split in ("train", "valid"):
                axis.plot(
                    table["epoch"],
                    table[f"{split}_{metric}"],
                    color=COLORS[split],
                    label=split,
                    marker="o",
                    markersize=2.5,
                )
            tuned = table[table["phase"] == "fine_tune"]
            if len(tuned):
                axis.axvline(tuned["epoch"].iloc[0] - 0.5, **_CHANCE)
                axis.annotate(
                    " fine-tuning",
                    (tuned["epoch"].iloc[0] - 0.5, 0.02),
                    xycoords=("data", "axes fraction"),
                    color="#707070",
                    fontsize=9,
                )
            axis.set(xlabel="epoch", ylabel=name)
            axis.spines[["top", "right"]].set_visible(False)
            axis.xaxis.set_major_locator(MaxNLocator(integer=True))
            axis.legend(frameon=False)
        figure.suptitle("Training of the image model")


def coefficients(path: Path | str, table: pd.DataFrame, most: int = 20) -> None:
    """Draw the baseline's `most` largest coefficients, each for one standard deviation."""
    shown = table.reindex(table["coefficient"].abs().sort_values(ascending=False).index)[:most]
    shown = shown[::-1]
    with drawing(path, 6.4, 1.4 + 0.3 * max(len(shown), 1)) as (_, axes):
        colors = ["#b5482f" if value > 0 else "#3c7d52" for value in shown["coefficient"]]
        axes.barh(shown["feature"], shown["coefficient"], color=colors)
        axes.axvline(0, color="black", linewidth=0.8)
        axes.set(
            xlabel="coefficient per standard deviation: real < 0 < fake",
            title="What the metadata baseline relies on",
        )
