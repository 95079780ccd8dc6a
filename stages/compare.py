"""Stage `compare`: both models on the same test images, every figure, and the report."""

from functools import partial
from pathlib import Path

from deepfake import params
from deepfake.common import paths
from deepfake.common.files import read_json, write_json, write_text
from deepfake.evaluation import comparison
from deepfake.evaluation.predictions import read_predictions
from deepfake.reporting import figures, report
from deepfake.reporting.verdict import verdict
from deepfake.tracking import experiment_rows
from deepfake.tracking.run import start_run
from stages.running import stage


@stage
def main() -> None:
    settings = params.load()
    chosen = settings.compare
    with start_run(
        settings.tracking,
        stage="compare",
        kind="data",
        after=partial(experiment_rows.ensure, Path(), settings),
    ) as run:
        models = ("baseline", "image")
        results = {model: read_json(paths.metrics_file(model))["test"] for model in models}
        interval = comparison.bootstrap_difference(
            *(read_predictions(paths.predictions(model) / "test.csv") for model in models),
            samples=chosen.bootstrap_samples,
            confidence=chosen.confidence,
            seed=settings.seed,
        )
        facts = {
            "roc_auc_image_minus_baseline": interval,
            "test": comparison.side_by_side(results["baseline"], results["image"]),
        }
        sentence = verdict(interval, chosen.confidence)
        write_json(paths.COMPARISON, facts)
        figures.draw_all()
        text = report.markdown(
            verdict=sentence,
            data=read_json(paths.DATA_SUMMARY),
            backbone=read_json(paths.BACKBONE_SUMMARY),
            training=read_json(paths.TRAINING_SUMMARY),
            comparison=facts,
            params=settings.model_dump(mode="json"),
        )
        write_text(paths.REPORT, text)
        run.params({"compare": chosen.model_dump()})
        run.metrics(facts)
        run.tags({"verdict": sentence})
        run.files([paths.REPORT, paths.COMPARISON, paths.FIGURES / "roc.png"])
    print(sentence)


if __name__ == "__main__":
    main()
