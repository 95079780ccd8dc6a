"""Stage `train`: the head on the embeddings, then the network on the pictures."""

from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from deepfake import (
    beside,
    cache,
    dataset,
    embedding,
    evaluation,
    figures,
    keras_file,
    params,
    rows,
    runtime,
    tracking,
    training,
)
from deepfake.errors import command
from deepfake.files import write_json
from deepfake.head import Head

IMAGES, EMBEDDINGS = "data/images", "data/embeddings"
WEIGHTS = Path("data/backbone/mobilenet_v2.weights.h5")
UNTRAINED = Path("data/backbone/untrained.keras")
MODEL, PLOTS = "data/models/image.keras", "plots/image"


@command
def main() -> None:
    settings = params.load()
    description = embedding.description(EMBEDDINGS)
    with (
        tracking.run(settings.tracking, stage="train", kind="model", name="image") as run,
        beside.prepared(figures.PACKAGES) as call,
    ):
        hardware = runtime.Hardware("CPU", runtime.cores(), "float32", "numpy")
        if settings.train.fine_tune.epochs:
            hardware = runtime.start(seed=settings.seed, precision=settings.backbone.precision)
        run.tags(hardware.record())
        history: list[training.Row] = []

        def on_epoch(row: training.Row) -> None:
            row = {**row, "epoch": len(history) + 1}
            history.append(row)
            rows.log_epoch(run, row)
            print(_line(row), flush=True)

        inputs = [WEIGHTS, *Path(EMBEDDINGS).glob("*"), *dataset.shards(IMAGES, "train")]
        with cache.unfinished("train", settings.model_dump(mode="json"), inputs) as work:
            summary = _train(settings, description, hardware.precision, work, on_epoch)
        facts = {
            "weights": description["weights"],
            "precision": hardware.precision,
            "dimensions": description["dimensions"],
            "parameters": keras_file.parameters(MODEL),
            **summary,
        }
        write_json("metrics/train.json", facts)
        table = pd.DataFrame(history, columns=list(training.HISTORY_COLUMNS))
        evaluation.write_table(f"{PLOTS}/history.csv", table)
        call(figures.history, f"{PLOTS}/history.png", table)
        rows.log_training(run, Path(), settings, epochs=False)


def _train(
    settings: params.Params, description: dict[str, Any], precision: str, work: Path, on_epoch: Any
) -> dict[str, Any]:
    """Both phases; writes the image model and returns a summary of them."""
    train = embedding.Embeddings.open(EMBEDDINGS, "train")
    valid = embedding.Embeddings.open(EMBEDDINGS, "valid")
    chosen = settings.train
    head, first = training.train_head(
        train, valid, chosen, seed=settings.seed, work=work, on_epoch=on_epoch
    )
    second = training.State([], [], first.best_roc_auc, 0)
    if chosen.fine_tune.epochs:
        second = _fine_tune(settings, description, precision, train, head, second, work, on_epoch)
    else:
        keras_file.with_head(UNTRAINED, MODEL, head, chosen.dropout)
    summary = {"head": _summary(first), "fine_tune": _summary(second)}
    summary["fine_tune"]["kept"] = second.best_epoch > 0
    return summary


def _fine_tune(
    settings: params.Params,
    description: dict[str, Any],
    precision: str,
    train: embedding.Embeddings,
    trained_head: Head,
    start: training.State,
    work: Path,
    on_epoch: Any,
) -> training.State:
    """Phase 2, and the image model of both; trained in the precision chosen, saved in float32,
    which every machine computes."""
    from deepfake import backbone, fine_tuning, model

    size, chosen = settings.backbone.image_size, settings.train
    saved = partial(backbone.saved_features, WEIGHTS, settings.backbone, settings.embed)
    features = saved("float32")
    trained = features if precision == "float32" else saved(precision)
    head = model.keras_head(trained_head, chosen.dropout)
    state = fine_tuning.fine_tune(
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
        start_roc_auc=start.best_roc_auc,
        work=work,
        on_epoch=on_epoch,
    )
    features.set_weights(trained.get_weights())
    model.save(model.assemble(features, head, description["views"], size), MODEL)
    return state


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
