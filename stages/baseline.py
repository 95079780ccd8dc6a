"""Stage `baseline`: logistic regression on the metadata alone."""

from pathlib import Path

from deepfake import params
from deepfake.common import paths
from deepfake.common.files import sha256_file, write_table
from deepfake.evaluation import decision
from deepfake.evaluation.predictions import predictions
from deepfake.evaluation.results import EVALUATED, write_results
from deepfake.metadata import baseline
from deepfake.metadata.table import FEATURES, read_metadata
from deepfake.tracking import experiment_rows
from deepfake.tracking.run import start_run
from stages.running import stage

# The model sees `FEATURES` alone; the others name the images in the predictions.
COLUMNS = ["image_id", "label", "path", *FEATURES]


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
        scored = {
            split: predictions(
                table["image_id"].tolist(),
                table["label"].to_numpy(),
                baseline.score(pipeline, table),
                table["path"].tolist(),
            )
            for split, table in tables.items()
        }
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
        experiment_rows.log_baseline(run, Path(), settings)
    print(f"baseline: test ROC-AUC {results['test']['roc_auc']:.4f}")


if __name__ == "__main__":
    main()
