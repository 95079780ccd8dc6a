"""Stage `baseline`: logistic regression on the files' metadata alone."""

import joblib

from deepfake import baseline, evaluation, figures, metadata, params, scores, tracking
from deepfake.errors import command
from deepfake.files import replacing, sha256_file

MODEL, PLOTS = "data/models/baseline.joblib", "plots/baseline"
COLUMNS = ["image_id", "label", *metadata.FEATURES]


@command
def main() -> None:
    settings = params.load()
    with tracking.run(settings.tracking, stage="baseline", kind="model", name="baseline") as run:
        run.params({"baseline": settings.baseline.model_dump(), "evaluate": _evaluate(settings)})
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
        results = evaluation.write("baseline", scored, settings.evaluate.threshold)
        coefficients = baseline.coefficients(pipeline)
        evaluation.write_table(f"{PLOTS}/coefficients.csv", coefficients)
        figures.coefficients(f"{PLOTS}/coefficients.png", coefficients)
        evaluation.log(run, "baseline", results)
        used = baseline.varying(tables["train"])
        run.params({"baseline": {"features": used}})
        run.metrics({"coefficient": coefficients.set_index("feature")["coefficient"].to_dict()})
        run.tags({"model_sha256": sha256_file(MODEL)})
        for split, table in tables.items():
            run.data(table, f"metadata-{split}", split, "data/metadata")
        run.sklearn_model(pipeline, tables["train"][used].head(5))
    print(f"baseline: test ROC-AUC {results['test']['roc_auc']:.4f}")


def _evaluate(settings: params.Params) -> dict[str, float]:
    return {"threshold": settings.evaluate.threshold}


if __name__ == "__main__":
    main()
