"""Stage `baseline`: logistic regression on the files' metadata alone."""

from pathlib import Path

from deepfake import baseline, beside, evaluation, figures, params, rows, tracking
from deepfake.errors import command

TABLES, MODEL, PLOTS = Path("data/metadata"), Path("data/models/baseline.joblib"), "plots/baseline"


@command
def main() -> None:
    settings = params.load()
    with (
        tracking.run(settings.tracking, stage="baseline", kind="model", name="baseline") as run,
        beside.prepared((*baseline.PACKAGES, *evaluation.PACKAGES)) as call,
    ):
        run.ahead("mlflow.sklearn", *baseline.PACKAGES)
        scored, coefficients = call(
            baseline.train, TABLES, settings.baseline, MODEL, evaluation.EVALUATED
        )
        results = call(evaluation.write, "baseline", scored, settings.evaluate.threshold)
        evaluation.write_table(f"{PLOTS}/coefficients.csv", coefficients)
        call(figures.coefficients, f"{PLOTS}/coefficients.png", coefficients)
        rows.log_baseline(run, Path(), settings)
    print(f"baseline: test ROC-AUC {results['test']['roc_auc']:.4f}")


if __name__ == "__main__":
    main()
