"""What is written of a model's scores: predictions, metrics, curves, figures, report.

Both models go through here, so that their numbers carry the same names and mean the same.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from deepfake.common.files import replacing, write_json, write_text
from deepfake.evaluation import metrics, predictions
from deepfake.reporting import figures

EVALUATED = ("valid", "test")
# What `write` imports, in the order of need: for `beside.prepared`.
PACKAGES = (*figures.PACKAGES, "scipy.stats", "sklearn.metrics")


def write_results(name: str, tables: dict[str, pd.DataFrame], threshold: float) -> dict[str, Any]:
    """Write everything about model `name` (`baseline` or `image`).

    `tables` has the predictions of `valid` and `test`. Curves and figures are of `test`.

    Returns:
        For each split, the metrics of `metrics.METRICS`, as in `metrics/{name}.json`.
    """
    for split in EVALUATED:
        predictions.write_predictions(f"data/predictions/{name}/{split}.csv", tables[split])
    results = {split: metrics.evaluate(tables[split], threshold) for split in EVALUATED}
    write_json(f"metrics/{name}.json", results)
    _write_curves(name, tables["test"], results["test"], threshold)
    return results


def _write_curves(
    name: str, table: pd.DataFrame, results: dict[str, float], threshold: float
) -> None:
    folder = Path("plots") / name
    roc, precision_recall = metrics.roc_curve(table), metrics.precision_recall_curve(table)
    called = metrics.called_names(table, threshold)
    write_table(folder / "roc.csv", roc)
    write_table(folder / "precision_recall.csv", precision_recall)
    write_table(folder / "confusion.csv", called)
    write_text(
        folder / "classification_report.txt", metrics.classification_report(table, threshold)
    )
    title = f"ROC on test, {name} model"
    figures.roc(folder / "roc.png", {name: (roc, results["roc_auc"])}, title)
    figures.precision_recall(
        folder / "precision_recall.png",
        name,
        precision_recall,
        results["average_precision"],
        float(np.mean(table["label"])),
    )
    figures.confusion(folder / "confusion.png", name, called)


def write_table(path: Path | str, table: pd.DataFrame) -> None:
    """Write a small table as CSV, floats with six decimals."""
    with replacing(path) as partial:
        table.to_csv(partial, index=False, float_format="%.6f", lineterminator="\n")
