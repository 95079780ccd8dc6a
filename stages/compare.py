"""Stage `compare`: both models on the same test images, every figure, and the report."""

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from deepfake import params
from deepfake.common import paths
from deepfake.common.files import read_json, write_json, write_text
from deepfake.evaluation import comparison, decision, intervals
from deepfake.evaluation.bootstrap import roc_band
from deepfake.evaluation.predictions import read_predictions
from deepfake.reporting import figures, report
from deepfake.reporting.verdict import verdict
from deepfake.tracking import experiment_rows
from deepfake.tracking.run import start_run
from stages.running import stage

MODELS = ("baseline", "image")


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
        scored = {
            model: read_predictions(paths.predictions(model) / "test.csv") for model in MODELS
        }
        decisions = {model: decision.read(paths.decision(model)) for model in MODELS}
        thresholds = {model: decided.threshold for model, decided in decisions.items()}
        facts, spans, bands = _compare(settings, scored, thresholds)
        write_json(paths.COMPARISON, facts)
        write_json(paths.INTERVALS, spans)
        figures.draw_all(thresholds, chosen.confidence, bands)
        sentence = verdict(facts["roc_auc_image_minus_baseline"], chosen.confidence)
        text = report.markdown(
            sentence=sentence,
            features=pd.read_csv(paths.COEFFICIENTS)["feature"].tolist(),
            data=read_json(paths.DATA_SUMMARY),
            backbone=read_json(paths.BACKBONE_SUMMARY),
            training=read_json(paths.TRAINING_SUMMARY),
            comparison=facts,
            intervals=spans,
            decisions={
                model: {**asdict(decided), "on_test": decision.on_test(decided, scored[model])}
                for model, decided in decisions.items()
            },
            params=settings.model_dump(mode="json"),
        )
        write_text(paths.REPORT, text)
        run.params({"compare": chosen.model_dump()})
        run.metrics(facts)
        run.tags({"verdict": sentence})
        run.files([paths.REPORT, paths.COMPARISON, paths.FIGURES / "roc.png"])
    print("\n".join(report.top(text)))


def _compare(
    settings: params.Params, scored: dict[str, pd.DataFrame], thresholds: dict[str, float]
) -> tuple[dict[str, Any], dict[str, Any], dict[str, pd.DataFrame]]:
    """The content of `metrics/comparison.json`, each metric's interval, and each ROC curve's band.

    Args:
        scored: the predictions of each model on test.
        thresholds: of each model.
    """
    results = {model: read_json(paths.metrics_file(model))["test"] for model in MODELS}
    sampling: dict[str, Any] = {
        "samples": settings.compare.bootstrap_samples,
        "confidence": settings.compare.confidence,
        "seed": settings.seed,
    }
    interval = comparison.bootstrap_difference(scored["baseline"], scored["image"], **sampling)
    facts = {
        "roc_auc_image_minus_baseline": interval,
        "test": comparison.side_by_side(results["baseline"], results["image"]),
    }
    spans = {
        model: intervals.of_metrics(table, thresholds[model], **sampling)
        for model, table in scored.items()
    }
    return facts, spans, {model: roc_band(table, **sampling) for model, table in scored.items()}


if __name__ == "__main__":
    main()
