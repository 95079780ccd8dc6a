"""What the stages write about a model's scores: decision, predictions, metrics and curves.

Both models go through here, so that their numbers have the same names and the same meaning.
"""

from typing import Any

import pandas as pd

from deepfake.common import paths
from deepfake.common.files import write_json, write_table, write_text
from deepfake.evaluation import decision, metrics
from deepfake.evaluation.predictions import write_predictions

EVALUATED = ("valid", "test")


def write_results(
    model: str, tables: dict[str, pd.DataFrame], decided: decision.Decision
) -> dict[str, Any]:
    """Write the decision, predictions and metrics of `valid` and `test`, and the curves of `test`.

    Args:
        model: `baseline` or `image`.
        tables: the predictions of each split of `EVALUATED`.
        decided: what was decided on the predictions of `valid`.

    Returns:
        The metrics of each split, as in `metrics/{model}.json`.
    """
    threshold = decided.threshold
    decision.write(paths.decision(model), decided)
    for split in EVALUATED:
        write_predictions(paths.predictions(model) / f"{split}.csv", tables[split])
    results = {split: metrics.evaluate(tables[split], threshold) for split in EVALUATED}
    write_json(paths.metrics_file(model), results)
    folder, test = paths.curves(model), tables["test"]
    write_table(folder / "roc.csv", metrics.roc_curve(test))
    write_table(folder / "precision_recall.csv", metrics.precision_recall_curve(test))
    write_table(folder / "confusion.csv", metrics.predicted_names(test, threshold))
    report = metrics.classification_report(test, threshold)
    write_text(folder / "classification_report.txt", report)
    return results
