"""Stage `train`: by the recipe `probe`, the head on the embeddings, then the backbone on the
images; by the others, a whole network on the images."""

from pathlib import Path
from typing import Any

import pandas as pd

from deepfake import params
from deepfake.common import paths
from deepfake.common.environment import Hardware, cores
from deepfake.common.files import write_json, write_table
from deepfake.common.resume import unfinished
from deepfake.data import embeddings
from deepfake.models import image_model, keras_archive, pooling, tensorflow_setup
from deepfake.models.head import Head
from deepfake.tracking import experiment_rows
from deepfake.tracking.run import start_run
from deepfake.training import fine_tuning, head_training, loop, recipes
from stages.running import resume_key, stage


@stage
def main() -> None:
    settings = params.load()
    chosen = settings.train
    description = embeddings.description(paths.EMBEDDINGS)
    with start_run(settings.tracking, stage="train", kind="model", name="image") as run:
        hardware = _start(settings)
        run.tags(hardware.record())
        history: list[loop.Row] = []

        def on_epoch(row: loop.Row) -> None:
            row = {**row, "epoch": len(history) + 1}
            history.append(row)
            experiment_rows.log_epoch(run, row)

        # The head reads no images.
        only_head = chosen.recipe == "probe" and not chosen.fine_tune.epochs
        unread = [str(paths.IMAGES)] if only_head else []
        with unfinished("train", resume_key("train", without=unread)) as work:
            summary = _train(settings, hardware.precision, work, on_epoch)
        facts = {
            "recipe": chosen.recipe,
            "weights": description["weights"],
            "precision": hardware.precision,
            "dimensions": description["dimensions"],
            "parameters": keras_archive.parameters(paths.IMAGE_MODEL),
            **summary,
        }
        write_json(paths.TRAINING_SUMMARY, facts)
        table = pd.DataFrame(history, columns=list(loop.HISTORY_COLUMNS))
        write_table(paths.HISTORY, table)
        experiment_rows.log_training(run, Path(), settings, epochs=False)
    print(f"{_line(summary)} Every epoch is in {paths.HISTORY}.")


def _start(settings: params.Params) -> Hardware:
    """Start TensorFlow if it is needed: a linear head on embeddings is trained in NumPy."""
    if settings.train.recipe != "probe" or settings.train.fine_tune.epochs:
        return tensorflow_setup.start(seed=settings.seed, precision=settings.backbone.precision)
    if settings.train.hidden:  # Keras writes the model
        tensorflow_setup.start(seed=settings.seed, precision="float32")
    return Hardware("CPU", cores(), "float32", "numpy")


def _train(settings: params.Params, precision: str, work: Path, on_epoch: Any) -> dict[str, Any]:
    """Train by the recipe, write the image model, and return a summary of each phase."""
    chosen = settings.train
    if chosen.recipe != "probe":
        states = recipes.train_on_images(settings, precision, work, on_epoch)
        return _summaries(states)
    train = embeddings.Embeddings.open(paths.EMBEDDINGS, "train")
    valid = embeddings.Embeddings.open(paths.EMBEDDINGS, "valid")
    head, first = head_training.train_head(
        train, valid, chosen, seed=settings.seed, work=work, on_epoch=on_epoch
    )
    second = loop.State([], [], first.best_roc_auc, 0)
    if chosen.fine_tune.epochs:
        weights = loop.balanced(train.labels, chosen.class_weight)
        second = _fine_tune(settings, precision, head, second, weights, work, on_epoch)
    elif chosen.hidden:
        _save(settings, _features(settings, "float32"), _keras_head(settings, head))
    else:
        keras_archive.write_with_head(paths.MODEL_TEMPLATE, paths.IMAGE_MODEL, head)
    return _summaries({"head": first, "fine_tune": second})


def _fine_tune(
    settings: params.Params,
    precision: str,
    trained_head: Head,
    start: loop.State,
    class_weight: Any,
    work: Path,
    on_epoch: Any,
) -> loop.State:
    """Train in the precision chosen; save in float32, which every machine computes."""
    features = _features(settings, "float32")
    trained = features if precision == "float32" else _features(settings, precision)
    head = _keras_head(settings, trained_head)
    state = fine_tuning.fine_tune(
        paths.IMAGES,
        trained,
        head,
        settings.train,
        statistics=settings.embed.statistics,
        scales=settings.embed.scales,
        class_weight=class_weight,
        image_size=settings.backbone.image_size,
        views=settings.embed.views,
        precision=precision,
        seed=settings.seed,
        start_roc_auc=start.best_roc_auc,
        work=work,
        cache_megabytes=settings.execution.cache_megabytes,
        on_epoch=on_epoch,
    )
    features.set_weights(trained.get_weights())
    _save(settings, features, head)
    return state


def _features(settings: params.Params, precision: str) -> Any:
    return pooling.saved_features(
        paths.BACKBONE_WEIGHTS, settings.backbone, settings.embed, precision
    )


def _keras_head(settings: params.Params, head: Head) -> Any:
    return image_model.keras_head(head, settings.train.dropout)


def _save(settings: params.Params, features: Any, head: Any) -> None:
    views, size = settings.embed.views, settings.backbone.image_size
    image_model.save(image_model.assemble(features, head, views, size), paths.IMAGE_MODEL)


def _summaries(states: dict[str, loop.State]) -> dict[str, Any]:
    """What each phase came to; of `fine_tune`, whether it was better than the phase before."""
    summary: dict[str, Any] = {
        name: {
            "epochs": len(state.history),
            "best_epoch": state.best_epoch,
            "valid_roc_auc": state.best_roc_auc,
        }
        for name, state in states.items()
    }
    if "fine_tune" in summary:
        summary["fine_tune"]["kept"] = states["fine_tune"].best_epoch > 0
    return summary


def _line(summary: dict[str, Any]) -> str:
    """What training came to: the best epoch of the phase whose weights are kept."""
    phase = loop.kept_phase(summary)
    best = summary[phase]
    return (
        f"train: best after epoch {best['best_epoch']} of {best['epochs']} of {phase}, "
        f"validation ROC-AUC {best['valid_roc_auc']:.4f}."
    )


if __name__ == "__main__":
    main()
