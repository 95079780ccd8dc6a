"""Every figure of the pipeline, drawn from what the stages wrote."""

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator, PercentFormatter

from deepfake.common import paths
from deepfake.common.files import read_json
from deepfake.common.labels import LABEL_NAMES
from deepfake.evaluation.predictions import read_predictions
from deepfake.evaluation.tables import read_table
from deepfake.reporting import reliability
from deepfake.reporting.drawing import CLASS_COLORS, COLORS, DASHED, GREY, POINT, drawing

SCORE_BINS = 40
_CLASSES = list(LABEL_NAMES.values())
_SHARES = {"xlim": (-0.01, 1.01), "ylim": (-0.01, 1.01)}


@dataclass(frozen=True)
class RocCurve:
    """What the ROC figure shows of a model.

    Attributes:
        points: columns `fpr` and `tpr`.
        auc: the area under it.
        band: columns `fpr`, `low` and `high`, as `roc_band` returns them.
        operating: false and true positive rate at the threshold, (2,).
        threshold: scores from here on are predicted fake.
    """

    points: pd.DataFrame
    auc: float
    band: pd.DataFrame
    operating: np.ndarray
    threshold: float


def draw_all(
    thresholds: Mapping[str, float], confidence: float, bands: Mapping[str, pd.DataFrame]
) -> None:
    """Draw every figure into `plots/`.

    Args:
        thresholds: for each model, the score from which images are predicted fake.
        confidence: of the bands.
        bands: for each model, what `roc_band` returned.
    """
    curves, tables = {}, {}
    for model, band in bands.items():
        threshold = thresholds[model]
        folder, test = paths.curves(model), read_json(paths.metrics_file(model))["test"]
        counts = confusion_counts(read_table(folder / "confusion.csv"))
        points = read_table(folder / "roc.csv")
        curves[model] = RocCurve(points, test["roc_auc"], band, shares(counts)[:, 1], threshold)
        roc(paths.figure(model, "roc"), {model: curves[model]}, confidence)
        points = read_table(folder / "precision_recall.csv")
        target = paths.figure(model, "precision_recall")
        precision_recall(target, model, points, test["average_precision"], counts, threshold)
        confusion(paths.figure(model, "confusion"), model, counts, threshold)
        tables[model] = read_predictions(paths.predictions(model) / "test.csv")
        scores(paths.figure(model, "scores"), model, tables[model], threshold)
    roc(paths.FIGURES / "roc.png", curves, confidence)
    reliability.draw(paths.FIGURES / "reliability.png", tables, confidence)
    best = best_epoch(read_json(paths.TRAINING_SUMMARY))
    history(paths.FIGURES / "history.png", read_table(paths.HISTORY), best)
    if paths.PENALTIES.exists():
        chosen = read_json(paths.TRAINING_SUMMARY)["head"]["weight_decay"]
        penalties(paths.FIGURES / "penalties.png", read_table(paths.PENALTIES), chosen)
    weights = read_table(paths.COEFFICIENTS, keep_default_na=False)
    coefficients(paths.FIGURES / "coefficients.png", weights)


def confusion_counts(names: pd.DataFrame) -> np.ndarray:
    """How many images of each class (rows: `actual`) were predicted as which (columns), (2, 2)."""
    counts = pd.crosstab(names["actual"], names["predicted"])
    return counts.reindex(index=_CLASSES, columns=_CLASSES, fill_value=0).to_numpy()


def shares(counts: np.ndarray) -> np.ndarray:
    """`confusion_counts` as shares of the actual class: the rows add up to 1.

    Its last column is the operating point: false and true positive rate.
    """
    return np.asarray(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1))


def best_epoch(training: Mapping[str, Any]) -> int:
    """The number in the history of the epoch whose weights the image model has."""
    if "network" in training:
        return int(training["network"]["best_epoch"])
    head, tuned = training["head"], training["fine_tune"]
    return int(head["epochs"] + tuned["best_epoch"] if tuned["kept"] else head["best_epoch"])


def roc(path: Path | str, curves: Mapping[str, RocCurve], confidence: float) -> None:
    """Draw the ROC curves of these models, with their bands and operating points."""
    which = "both models" if len(curves) > 1 else f"{next(iter(curves))} model"
    with drawing(path) as (_, axes):
        for name, curve in curves.items():
            color, band = COLORS[name], curve.band
            axes.fill_between(
                band["fpr"], band["low"], band["high"], color=color, alpha=0.18, linewidth=0
            )
            label = f"{name}, AUC {curve.auc:.3f}"
            axes.plot(curve.points["fpr"], curve.points["tpr"], color=color, label=label)
            axes.plot(*curve.operating, color=color, **POINT)
        axes.fill_between([], [], color=GREY, alpha=0.25, label=f"{100 * confidence:g}% interval")
        thresholds = dict.fromkeys(f"{curve.threshold:g}" for curve in curves.values())
        label = f"threshold {' and '.join(thresholds)}"
        axes.plot([], [], color=GREY, label=label, **POINT)
        axes.plot([0, 1], [0, 1], label="chance", **DASHED)
        axes.set(xlabel="false positive rate", ylabel="true positive rate", aspect="equal")
        axes.set(title=f"ROC on test, {which}", **_SHARES)
        axes.legend(loc="lower right", frameon=False)


def precision_recall(
    path: Path | str,
    name: str,
    points: pd.DataFrame,
    average_precision: float,
    counts: np.ndarray,
    threshold: float,
) -> None:
    """Draw precision over recall of model `name`, with the point that the counts are of."""
    label = f"{name}, average precision {average_precision:.3f}"
    with drawing(path) as (_, axes):
        axes.step(
            points["recall"], points["precision"], where="post", color=COLORS[name], label=label
        )
        (_, false_positives), (_, true_positives) = counts
        if called := false_positives + true_positives:  # else there is no precision
            point = shares(counts)[1, 1], true_positives / called
            axes.plot(*point, color=COLORS[name], label=f"threshold {threshold:g}", **POINT)
        axes.axhline(counts[1].sum() / counts.sum(), label="chance", **DASHED)
        axes.set(
            xlabel="recall (true positive rate)",
            ylabel="precision (share of fakes among predicted fakes)",
            title=f"Precision and recall on test, {name} model",
            **_SHARES,
        )
        axes.legend(loc="lower left", frameon=False)


def confusion(path: Path | str, name: str, counts: np.ndarray, threshold: float) -> None:
    """Draw the counts, each also as a percentage of its actual class."""
    ticks = {"xticks": [0, 1], "xticklabels": _CLASSES, "yticks": [0, 1], "yticklabels": _CLASSES}
    with drawing(path, 5.2, 4.2) as (_, axes):
        axes.imshow(shares(counts), cmap="Blues", vmin=0, vmax=1, aspect="auto")
        for (row, column), share in np.ndenumerate(shares(counts)):
            axes.text(
                column,
                row,
                f"{counts[row, column]:,}\n{share:.1%} of {_CLASSES[row]}s",
                ha="center",
                va="center",
                fontsize=13,
                linespacing=1.5,
                color="white" if share > 0.5 else "black",
            )
        axes.set(xlabel="predicted", ylabel="actual", **ticks)
        axes.set(title=f"Test images at threshold {threshold:g}, {name} model")


def scores(path: Path | str, name: str, table: pd.DataFrame, threshold: float) -> None:
    """Draw how the scores of each class are distributed; `table`: predictions."""
    with drawing(path, 5.2, 4.2) as (figure, axes):
        for label, kind in LABEL_NAMES.items():
            found = table.loc[table["label"] == label, "score"]
            axes.hist(
                found,
                bins=np.linspace(0, 1, SCORE_BINS + 1),
                weights=np.full(len(found), 1 / max(len(found), 1)),
                color=CLASS_COLORS[kind],
                alpha=0.6,
                label=f"{len(found):,} {kind}s",
            )
        axes.axvline(threshold, label=f"threshold {threshold:g}", **DASHED | {"color": "black"})
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.set(xlim=(-0.01, 1.01), xlabel="score, P(fake)", ylabel="share of the class")
        axes.set(title=f"Scores on test, {name} model")
        figure.legend(loc="outside lower center", ncols=3, frameon=False)


def history(path: Path | str, table: pd.DataFrame, best: int) -> None:
    """Draw loss and ROC-AUC over both phases' epochs, or iterations where a head was solved.

    Args:
        table: the content of `history.csv`.
        best: the epoch whose weights the model has.
    """
    with drawing(path, 8.4, 4.0) as (figure, axes):
        axes.remove()
        left, right = figure.subplots(1, 2)
        for axis, metric, name in ((left, "loss", "log loss"), (right, "roc_auc", "ROC-AUC")):
            for split in ("train", "valid"):
                values = table[f"{split}_{metric}"]
                axis.plot(table["epoch"], values, color=COLORS[split], label=split)
            chosen = table[table["epoch"] == best]
            solved = table["learning_rate"].isna().any()  # no rate: a solver's iterations
            label = f"iteration {best}, the optimum" if solved else f"epoch {best}, best on valid"
            axis.plot(
                chosen["epoch"], chosen[f"valid_{metric}"], color=COLORS["valid"], label=label,
                **POINT,
            )  # fmt: skip
            if "fine_tune" in table["phase"].to_numpy():
                begin = table.loc[table["phase"] == "fine_tune", "epoch"].iloc[0] - 0.5
                axis.axvline(begin, label="fine-tuning begins", **DASHED)
            axis.set(xlabel="iteration" if solved else "epoch", ylabel=name)
            axis.spines[["top", "right"]].set_visible(False)
            axis.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
        legend = left.get_legend_handles_labels()
        figure.legend(*legend, loc="outside lower center", ncols=4, frameon=False)
        figure.suptitle("Training of the image model")


def penalties(path: Path | str, table: pd.DataFrame, chosen: float) -> None:
    """Draw log loss and ROC-AUC of images left out of training, against the penalty.

    Args:
        table: the content of `penalties.csv`.
        chosen: the penalty that was used.
    """
    with drawing(path, 8.4, 3.6) as (figure, axes):
        axes.remove()
        left, right = figure.subplots(1, 2)
        for axis, metric, name in ((left, "log_loss", "log loss"), (right, "roc_auc", "ROC-AUC")):
            axis.errorbar(
                table["weight_decay"], table[metric], yerr=table[f"{metric}_error"],
                color=COLORS["valid"], capsize=3, label="mean of the folds, with standard error",
            )  # fmt: skip
            axis.axvline(chosen, label=f"{chosen:g}, the penalty used", **DASHED)
            axis.set(xscale="log", xlabel="L2 penalty on the head's weights", ylabel=name)
            axis.spines[["top", "right"]].set_visible(False)
        legend = left.get_legend_handles_labels()
        figure.legend(*legend, loc="outside lower center", ncols=2, frameon=False)
        figure.suptitle("Cross-validation of the penalty on train")


def coefficients(path: Path | str, table: pd.DataFrame, most: int = 20) -> None:
    """Draw the first `most` coefficients of `coefficients.csv`, which has the largest first."""
    shown = table[:most][::-1]
    groups = _collinear_groups(table[:most])
    with drawing(path, 6.4, 1.6 + 0.3 * max(len(shown), 1)) as (figure, axes):
        kinds = ["fake" if value > 0 else "real" for value in shown["coefficient"]]
        pairs = zip(shown["feature"], shown["collinear_with"], strict=True)
        names = [f"{name} *" if others else name for name, others in pairs]
        colors = [CLASS_COLORS[kind] for kind in kinds]
        bars = axes.barh(names, shown["coefficient"], color=colors)
        axes.bar_label(bars, fmt="%+.3f", padding=3, fontsize=9)
        axes.margins(x=0.18)
        axes.axvline(0, color="black", linewidth=0.8)
        axes.set(
            xlabel="coefficient per standard deviation: real < 0 < fake",
            title="What the metadata baseline relies on",
        )
        if groups:
            note = f"* collinear on train, to be read together: {'; '.join(groups)}"
            figure.supxlabel(textwrap.fill(note, 90), fontsize=9, color=GREY)


def _collinear_groups(table: pd.DataFrame) -> list[str]:
    """The features that belong together, as `bits_per_pixel and bytes`, each group once."""
    pairs = zip(table["feature"], table["collinear_with"], strict=True)
    groups = [" and ".join(sorted([name, *others.split()])) for name, others in pairs if others]
    return list(dict.fromkeys(groups))
