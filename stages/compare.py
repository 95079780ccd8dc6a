"""Stage `compare`: both models on the same test images, every figure, and the report."""

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from deepfake import params
from deepfake.common import paths
from deepfake.common.files import read_json, write_json, write_text
from deepfake.evaluation import by_source, comparison, decision, intervals
from deepfake.evaluation.bootstrap import roc_band
from deepfake.evaluation.predictions import read_predictions
from deepfake.evaluation.tables import read_table
from deepfake.reporting import external, figures, report
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
        sampling: dict[str, Any] = {
            "samples": chosen.bootstrap_samples,
            "confidence": chosen.confidence,
            "seed": settings.seed,
        }
        facts, bands = _compare(scored, sampling)
        spans = {
            model: intervals.of_metrics(table, thresholds[model], **sampling)
            for model, table in scored.items()
        }
        groups = _groups(settings, scored, thresholds, sampling)
        write_json(paths.COMPARISON, facts)
        for model in MODELS:
            write_json(paths.intervals(model), spans[model])
            write_json(paths.groups(model), by_source.of_model(groups, model))
        figures.draw_all(thresholds, chosen.confidence, bands)
        if groups["external"]:
            target = paths.FIGURES / "external.png"
            external.draw(target, groups["external"], chosen.confidence)
        sentence = verdict(facts["roc_auc_image_minus_baseline"], chosen.confidence)
        text = _report(
            settings, scored, decisions,
            sentence=sentence, comparison=facts, intervals=spans, groups=groups,
        )  # fmt: skip
        write_text(paths.REPORT, text)
        run.params({"compare": chosen.model_dump()})
        run.metrics(facts)
        run.tags({"verdict": sentence})
        run.files([paths.REPORT, paths.COMPARISON, paths.FIGURES / "roc.png"])
        run.files([paths.groups(model) for model in MODELS], "groups")
    print("\n".join(report.top(text)))


def _report(
    settings: params.Params,
    scored: dict[str, pd.DataFrame],
    decisions: dict[str, decision.Decision],
    **found: Any,
) -> str:
    """The text of `report.md`: what this stage has `found`, and what others wrote."""
    return report.markdown(
        features=read_table(paths.COEFFICIENTS)["feature"].tolist(),
        data=read_json(paths.DATA_SUMMARY),
        backbone=read_json(paths.BACKBONE_SUMMARY),
        training=read_json(paths.TRAINING_SUMMARY),
        decisions={
            model: {**asdict(decided), "on_test": decision.on_test(decided, scored[model])}
            for model, decided in decisions.items()
        },
        sets=read_json(paths.EXTERNAL_SUMMARY)["sets"],
        params=settings.model_dump(mode="json"),
        **found,
    )


def _compare(
    scored: dict[str, pd.DataFrame], sampling: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, pd.DataFrame]]:
    """The content of `metrics/comparison.json`, and the band of each model's ROC curve.

    Args:
        scored: the predictions of each model on test.
        sampling: `samples`, `confidence` and `seed` of the bootstrap.
    """
    results = {model: read_json(paths.metrics_file(model))["test"] for model in MODELS}
    interval = comparison.bootstrap_difference(scored["baseline"], scored["image"], **sampling)
    facts = {
        "roc_auc_image_minus_baseline": interval,
        "test": comparison.side_by_side(results["baseline"], results["image"]),
    }
    return facts, {model: roc_band(table, **sampling) for model, table in scored.items()}


def _groups(
    settings: params.Params,
    test: dict[str, pd.DataFrame],
    thresholds: dict[str, float],
    sampling: dict[str, Any],
) -> dict[str, dict[str, Any]]:
    """Both models on each `source`, and on test and each data set never trained on, `external`.
    Nothing where there is only one source, or no such set."""
    tables = {
        one.name: {
            model: read_predictions(paths.external_predictions(model, one.name)) for model in MODELS
        }
        for one in settings.evaluate.external
    }
    named = {"test": test, **tables} if tables else {}
    return {
        "source": by_source.each_source(test, thresholds, **sampling),
        "external": {
            name: by_source.both_models(found, thresholds, **sampling)
            for name, found in named.items()
        },
    }


if __name__ == "__main__":
    main()
