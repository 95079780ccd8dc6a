"""Stage `compare`: both models side by side on the same test images, and the report."""

from functools import partial
from pathlib import Path

import pandas as pd

from deepfake import beside, params
from deepfake.common.errors import command
from deepfake.common.files import read_json, write_json, write_text
from deepfake.evaluation import comparison, predictions
from deepfake.reporting import figures, report
from deepfake.tracking import experiment_rows
from deepfake.tracking.run import start_run


@command
def main() -> None:
    settings = params.load()
    chosen = settings.compare
    with (
        start_run(
            settings.tracking,
            stage="compare",
            kind="data",
            after=partial(experiment_rows.ensure, Path(), settings),
        ) as run,
        beside.prepared(figures.PACKAGES) as call,
    ):
        run.params({"compare": chosen.model_dump()})
        names = ("baseline", "image")
        tables = {n: predictions.read_predictions(f"data/predictions/{n}/test.csv") for n in names}
        results = {n: read_json(f"metrics/{n}.json")["test"] for n in names}
        interval = comparison.bootstrap_difference(
            tables["baseline"],
            tables["image"],
            samples=chosen.bootstrap_samples,
            confidence=chosen.confidence,
            seed=settings.seed,
        )
        facts = {
            "roc_auc_image_minus_baseline": interval,
            "test": comparison.side_by_side(results["baseline"], results["image"]),
        }
        sentence = comparison.verdict(interval, chosen.confidence)
        write_json("metrics/comparison.json", facts)
        curves = {n: (pd.read_csv(f"plots/{n}/roc.csv"), results[n]["roc_auc"]) for n in names}
        call(figures.roc, "plots/comparison/roc.png", curves, "ROC on test, both models")
        text = report.markdown(
            verdict=sentence,
            data=read_json("metrics/data.json"),
            backbone=read_json("metrics/backbone.json"),
            training=read_json("metrics/train.json"),
            comparison=facts,
            params=settings.model_dump(mode="json"),
        )
        write_text("report.md", text)
        run.metrics(facts)
        run.tags({"verdict": sentence})
        run.files(["report.md", "metrics/comparison.json", "plots/comparison/roc.png"])
    print(sentence)


if __name__ == "__main__":
    main()
