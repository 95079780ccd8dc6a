"""Stage `baseline`: logistic regression on the files' metadata alone."""

from pathlib import Path

from deepfake import beside, params
from deepfake.common.errors import command
from deepfake.evaluation.results import EVALUATED, PACKAGES, write_results, write_table
from deepfake.metadata import baseline
from deepfake.reporting import figures
from deepfake.tracking import experiment_rows
from deepfake.tracking.run import start_run

TABLES, MODEL, PLOTS = Path("data/metadata"), Path("data/models/baseline.joblib"), "plots/baseline"


@command
def main() -> None:
    settings = params.load()
    with (
        start_run(settings.tracking, stage="baseline", kind="model", name="baseline") as run,
        beside.prepared((*baseline.PACKAGES, *PACKAGES)) as call,
    ):
        run.ahead("mlflow.sklearn", *baseline.PACKAGES)
        scored, coefficients = call(baseline.train, TABLES, settings.baseline, MODEL, EVALUATED)
        results = call(write_results, "baseline", scored, settings.evaluate.threshold)
        write_table(f"{PLOTS}/coefficients.csv", coefficients)
        call(figures.coefficients, f"{PLOTS}/coefficients.png", coefficients)
        experiment_rows.log_baseline(run, Path(), settings)
    print(f"baseline: test ROC-AUC {results['test']['roc_auc']:.4f}")


if __name__ == "__main__":
    main()
