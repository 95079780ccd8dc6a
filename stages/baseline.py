"""Stage `baseline`: logistic regression on the metadata alone."""

from pathlib import Path
from typing import Any

import pandas as pd

from deepfake import params
from deepfake.common import paths
from deepfake.common.files import sha256_file, write_table
from deepfake.evaluation import decision
from deepfake.evaluation.predictions import predictions, write_predictions
from deepfake.evaluation.results import EVALUATED, write_results
from deepfake.metadata import baseline
from deepfake.metadata.table import FEATURES, read_metadata
from deepfake.tracking import row_contents
from deepfake.tracking.run import start_run
from stages.running import stage

# The model sees `FEATURES` alone; the others name the images in the predictions.
COLUMNS = ["image_id", "label", "path", "source", *FEATURES]


@stage
def main() -> None:
    settings = params.load()
    with start_run(settings.tracking, stage="baseline", kind="model", name="baseline") as run:
        train = read_metadata(paths.METADATA / "train.csv", COLUMNS)
        pipeline = baseline.fit(train, settings.baseline)
        baseline.save(pipeline, paths.BASELINE_MODEL)
        tables = {
            split: read_metadata(paths.METADATA / f"{split}.csv", COLUMNS) for split in EVALUATED
        }
        scored = {split: _scored(pipeline, table) for split, table in tables.items()}
        _score_external(settings, pipeline)
        # No temperature: a regression's scores fit the shares of train already, and so the saved
        # model gives the same scores.
        decided = decision.decide(
            scored["valid"], settings.evaluate, model_sha256=sha256_file(paths.BASELINE_MODEL)
        )
        results = write_results("baseline", scored, decided)
        coefficients = baseline.coefficients(pipeline)
        coefficients["collinear_with"] = baseline.collinear(pipeline, train)
        coefficients = coefficients.sort_values(
            "coefficient", key=abs, ascending=False, kind="stable"
        )
        write_table(paths.COEFFICIENTS, coefficients)
        row_contents.log_baseline(run, Path(), settings)
    print(f"baseline: test ROC-AUC {results['test']['roc_auc']:.4f}")


def _scored(pipeline: Any, table: pd.DataFrame) -> pd.DataFrame:
    """The predictions for a table of metadata."""
    return predictions(
        table["image_id"].tolist(),
        table["label"].to_numpy(),
        baseline.score(pipeline, table),
        table["path"].tolist(),
        sources=table["source"].tolist(),
    )


def _score_external(settings: params.Params, pipeline: Any) -> None:
    """Score the data sets never trained on."""
    for one in settings.evaluate.external:
        table = read_metadata(paths.external(one.name) / paths.EXTERNAL_TABLE, COLUMNS)
        write_predictions(
            paths.external_predictions("baseline", one.name), _scored(pipeline, table)
        )


if __name__ == "__main__":
    main()
