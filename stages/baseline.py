"""Stage `baseline`: logistic regression on the files' metadata alone."""

from pathlib import Path

import joblib

from deepfake import baseline, beside, evaluation, figures, metadata, params, rows, scores, tracking
from deepfake.errors import command
from deepfake.files import replacing

MODEL, PLOTS = "data/models/baseline.joblib", "plots/baseline"
COLUMNS = ["image_id", "label", *metadata.FEATURES]


@command
def main() -> None:
    settings = params.load()
    with (
        tracking.run(settings.tracking, stage="baseline", kind="model", name="baseline") as run,
        beside.prepared(evaluation.PACKAGES) as call,
    ):
        run.ahead("mlflow.sklearn", baseline.__name__)
        tables = {
            split: metadata.read(f"data/metadata/{split}.csv", COLUMNS)
            for split in ("train", "valid", "test")
        }
        pipeline = baseline.fit(tables["train"], settings.baseline)
        with replacing(MODEL) as partial:
            joblib.dump(pipeline, partial)
        scored = {
            split: scores.predictions(
                tables[split]["image_id"].tolist(),
                tables[split]["label"].to_numpy(),
                baseline.score(pipeline, tables[split]),
            )
            for split in evaluation.EVALUATED
        }
        results = call(evaluation.write, "baseline", scored, settings.evaluate.threshold)
        coefficients = baseline.coefficients(pipeline)
        evaluation.write_table(f"{PLOTS}/coefficients.csv", coefficients)
        call(figures.coefficients, f"{PLOTS}/coefficients.png", coefficients)
        rows.log_baseline(run, Path(), settings)
    print(f"baseline: test ROC-AUC {results['test']['roc_auc']:.4f}")


if __name__ == "__main__":
    main()
