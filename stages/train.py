"""Stage `train`: the head on the embeddings, then the network on the pictures."""

from pathlib import Path
from typing import Any

import pandas as pd

from deepfake import (
    backbone,
    cache,
    dataset,
    embedding,
    evaluation,
    figures,
    fine_tuning,
    model,
    params,
    rows,
    runtime,
    tracking,
    training,
)
from deepfake.errors import command
from deepfake.files import write_json

IMAGES, EMBEDDINGS, WEIGHTS = (
    "data/images",
    "data/embeddings",
    "data/backbone/mobilenet_v2.weights.h5",
)
MODEL, PLOTS = "data/models/image.keras", "plots/image"


@command
def main() -> None:
    settings = params.load()
    hardware = runtime.start(seed=settings.seed, precision=settings.backbone.precision)
    description = embedding.description(EMBEDDINGS)
    with tracking.run(settings.tracking, stage="train", kind="model", name="image") as run:
        run.tags(hardware.record())
        history: list[training.Row] = []

        def on_epoch(row: training.Row) -> None:
            row = {**row, "epoch": len(history) + 1}
            history.append(row)
            rows.log_epoch(run, row)
            print(_line(row), flush=True)

        inputs = [Path(WEIGHTS), *Path(EMBEDDINGS).glob("*"), *dataset.shards(IMAGES, "train")]
        with cache.unfinished("train", settings.model_dump(mode="json"), inputs) as work:
            trained, summary = _train(settings, description, hardware.precision, work, on_epoch)
        model.save(trained, MODEL)
        facts = {
            "weights": description["weights"],
            "precision": hardware.precision,
            "dimensions": description["dimensions"],
            "parameters": trained.count_params(),
            **summary,
        }
        write_json("metrics/train.json", facts)
        table = pd.DataFrame(history, columns=list(training.HISTORY_COLUMNS))
        evaluation.write_table(f"{PLOTS}/history.csv", table)
        figures.history(f"{PLOTS}/history.png", table)
        rows.log_training(run, Path(), settings, model=trained, epochs=False)


def _train(
    settings: params.Params, description: dict[str, Any], precision: str, work: Path, on_epoch: Any
) -> tuple[Any, dict[str, Any]]:
    """Both phases; returns the image model, in float32, and a summary of them."""
    train = embedding.Embeddings.open(EMBEDDINGS, "train")
    valid = embedding.Embeddings.open(EMBEDDINGS, "valid")
    chosen, size = settings.train, settings.backbone.image_size
    head, phase1 = training.train_head(
        train, valid, chosen, seed=settings.seed, work=work, on_epoch=on_epoch
    )
    features = _features(settings, "float32")
    tuned = training.State([], [], phase1.best_roc_auc, 0)
    if chosen.fine_tune.epochs:
        # Trained in the precision chosen, saved in float32, which every machine computes.
        trained = features if precision == "float32" else _features(settings, precision)
        tuned = fine_tuning.fine_tune(
            IMAGES,
            trained,
            head,
            chosen,
            statistics=settings.embed.statistics,
            scales=settings.embed.scales,
            class_weight=training.balanced(train.labels, chosen.class_weight),
            image_size=size,
            views=description["views"],
            precision=precision,
            seed=settings.seed,
            start_roc_auc=phase1.best_roc_auc,
            work=work,
            on_epoch=on_epoch,
        )
        features.set_weights(trained.get_weights())
    summary = {"head": _summary(phase1), "fine_tune": _summary(tuned)}
    summary["fine_tune"]["kept"] = tuned.best_epoch > 0
    return model.assemble(features, head, description["views"], size), summary


def _features(settings: params.Params, precision: str) -> Any:
    network = backbone.load(WEIGHTS, settings.backbone.alpha, precision)
    chosen = settings.embed
    return backbone.features(
        network, chosen.layers, chosen.statistics, settings.backbone.image_size, chosen.scales
    )


def _summary(state: training.State) -> dict[str, Any]:
    return {
        "epochs": len(state.history),
        "best_epoch": state.best_epoch,
        "valid_roc_auc": state.best_roc_auc,
    }


def _line(row: training.Row) -> str:
    return (
        f"{row['phase']} epoch {row['epoch']}: "
        f"train loss {row['train_loss']:.4f} ROC-AUC {row['train_roc_auc']:.4f}, "
        f"valid loss {row['valid_loss']:.4f} ROC-AUC {row['valid_roc_auc']:.4f}"
    )


if __name__ == "__main__":
    main()
