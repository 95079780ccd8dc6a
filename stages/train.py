"""Stage `train`: the head on the embeddings, then the network on the images."""

from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from deepfake import beside, params
from deepfake.common import environment, resume
from deepfake.common.errors import command
from deepfake.common.files import write_json
from deepfake.data import embeddings, shards
from deepfake.evaluation.results import write_table
from deepfake.models import keras_archive, tensorflow_setup
from deepfake.models.head import Head
from deepfake.reporting import figures
from deepfake.tracking import experiment_rows
from deepfake.tracking.run import start_run
from deepfake.training import head_training, loop

IMAGES, EMBEDDINGS = "data/images", "data/embeddings"
WEIGHTS = Path("data/backbone/mobilenet_v2.weights.h5")
UNTRAINED = Path("data/backbone/untrained.keras")
MODEL, PLOTS = "data/models/image.keras", "plots/image"


@command
def main() -> None:
    settings = params.load()
    description = embeddings.description(EMBEDDINGS)
    with (
        start_run(settings.tracking, stage="train", kind="model", name="image") as run,
        beside.prepared(figures.PACKAGES) as call,
    ):
        hardware = tensorflow_setup.Hardware("CPU", environment.cores(), "float32", "numpy")
        if settings.train.fine_tune.epochs:
            hardware = tensorflow_setup.start(
                seed=settings.seed, precision=settings.backbone.precision
            )
        run.tags(hardware.record())
        history: list[loop.Row] = []

        def on_epoch(row: loop.Row) -> None:
            row = {**row, "epoch": len(history) + 1}
            history.append(row)
            experiment_rows.log_epoch(run, row)
            print(_line(row), flush=True)

        inputs = [WEIGHTS, *Path(EMBEDDINGS).glob("*"), *shards.shards(IMAGES, "train")]
        with resume.unfinished("train", settings.model_dump(mode="json"), inputs) as work:
            summary = _train(settings, description, hardware.precision, work, on_epoch)
        facts = {
            "weights": description["weights"],
            "precision": hardware.precision,
            "dimensions": description["dimensions"],
            "parameters": keras_archive.parameters(MODEL),
            **summary,
        }
        write_json("metrics/train.json", facts)
        table = pd.DataFrame(history, columns=list(loop.HISTORY_COLUMNS))
        write_table(f"{PLOTS}/history.csv", table)
        call(figures.history, f"{PLOTS}/history.png", table)
        experiment_rows.log_training(run, Path(), settings, epochs=False)


def _train(
    settings: params.Params, description: dict[str, Any], precision: str, work: Path, on_epoch: Any
) -> dict[str, Any]:
    """Both phases; writes the image model and returns a summary of them."""
    train = embeddings.Embeddings.open(EMBEDDINGS, "train")
    valid = embeddings.Embeddings.open(EMBEDDINGS, "valid")
    chosen = settings.train
    head, first = head_training.train_head(
        train, valid, chosen, seed=settings.seed, work=work, on_epoch=on_epoch
    )
    second = loop.State([], [], first.best_roc_auc, 0)
    if chosen.fine_tune.epochs:
        second = _fine_tune(settings, description, precision, train, head, second, work, on_epoch)
    else:
        keras_archive.with_head(UNTRAINED, MODEL, head, chosen.dropout)
    summary = {"head": _summary(first), "fine_tune": _summary(second)}
    summary["fine_tune"]["kept"] = second.best_epoch > 0
    return summary


def _fine_tune(
    settings: params.Params,
    description: dict[str, Any],
    precision: str,
    train: embeddings.Embeddings,
    trained_head: Head,
    start: loop.State,
    work: Path,
    on_epoch: Any,
) -> loop.State:
    """Phase 2, and the image model of both; trained in the precision chosen, saved in float32,
    which every machine computes."""
    from deepfake.models import image_model, pooling
    from deepfake.training import fine_tuning

    size, chosen = settings.backbone.image_size, settings.train
    saved = partial(pooling.saved_features, WEIGHTS, settings.backbone, settings.embed)
    features = saved("float32")
    trained = features if precision == "float32" else saved(precision)
    head = image_model.keras_head(trained_head, chosen.dropout)
    state = fine_tuning.fine_tune(
        IMAGES,
        trained,
        head,
        chosen,
        statistics=settings.embed.statistics,
        scales=settings.embed.scales,
        class_weight=loop.balanced(train.labels, chosen.class_weight),
        image_size=size,
        views=description["views"],
        precision=precision,
        seed=settings.seed,
        start_roc_auc=start.best_roc_auc,
        work=work,
        on_epoch=on_epoch,
    )
    features.set_weights(trained.get_weights())
    image_model.save(image_model.assemble(features, head, description["views"], size), MODEL)
    return state


def _summary(state: loop.State) -> dict[str, Any]:
    return {
        "epochs": len(state.history),
        "best_epoch": state.best_epoch,
        "valid_roc_auc": state.best_roc_auc,
    }


def _line(row: loop.Row) -> str:
    return (
        f"{row['phase']} epoch {row['epoch']}: "
        f"train loss {row['train_loss']:.4f} ROC-AUC {row['train_roc_auc']:.4f}, "
        f"valid loss {row['valid_loss']:.4f} ROC-AUC {row['valid_roc_auc']:.4f}"
    )


if __name__ == "__main__":
    main()
