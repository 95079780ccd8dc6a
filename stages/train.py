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
from deepfake.tracking import row_contents
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
            before = [one["epoch"] for one in history if one["phase"] != row["phase"]]
            row = {**row, "epoch": max(before, default=0) + row["epoch"]}
            history.append(row)
            row_contents.log_epoch(run, row)

        # The head reads no images.
        only_head = chosen.recipe == "probe" and not chosen.fine_tune.epochs
        unread = [str(paths.IMAGES)] if only_head else []
        key = f"{resume_key('train', without=unread)}-{hardware.precision}"
        with unfinished("train", key) as work:
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
        row_contents.log_training(run, Path(), settings, epochs=False)
    print(f"{_line(summary)} The history is in {paths.HISTORY}.")


def _start(settings: params.Params) -> Hardware:
    """Start TensorFlow if it is needed: a linear head on embeddings is solved without it."""
    if settings.train.recipe != "probe" or settings.train.fine_tune.epochs:
        return tensorflow_setup.start(seed=settings.seed, precision=settings.backbone.precision)
    if not settings.train.linear:
        return tensorflow_setup.start(seed=settings.seed, precision="float32")
    return Hardware("CPU", cores(), "float32", "numpy")


def _train(settings: params.Params, precision: str, work: Path, on_epoch: Any) -> dict[str, Any]:
    """Train by the recipe, write the image model, and return a summary of each phase."""
    chosen = settings.train
    if chosen.recipe != "probe":
        states = recipes.train_on_images(settings, precision, work, on_epoch)
        return _summaries(states)
    train = embeddings.Embeddings.open(paths.EMBEDDINGS, "train")
    valid = embeddings.Embeddings.open(paths.EMBEDDINGS, "valid")
    described = embeddings.description(paths.EMBEDDINGS)
    first = head_training.train_head(
        train,
        valid,
        chosen,
        channels=described["channels"] if described["pooling"] == "covariance" else (),
        seed=settings.seed,
        work=work,
        on_epoch=on_epoch,
    )
    if first.penalties is not None:
        write_table(paths.PENALTIES, first.penalties)
    second = loop.State([], [], first.state.best_roc_auc, 0)
    if chosen.fine_tune.epochs:
        weights = loop.balanced(train.labels, chosen.class_weight)
        second = _fine_tune(settings, precision, first, second, weights, work, on_epoch)
    elif chosen.linear:
        keras_archive.write_with_head(paths.MODEL_TEMPLATE, paths.IMAGE_MODEL, first.head)
    else:
        _save(settings, _features(settings, "float32"), first.head)
    summary = _summaries({"head": first.state, "fine_tune": second})
    summary["head"] |= {"hidden": chosen.hidden, "weight_decay": first.weight_decay}
    return summary


def _fine_tune(
    settings: params.Params,
    precision: str,
    trained: head_training.Trained,
    start: loop.State,
    class_weight: Any,
    work: Path,
    on_epoch: Any,
) -> loop.State:
    """Train in the precision chosen; save in float32, which every machine computes."""
    features = _features(settings, "float32")
    tuned = features if precision == "float32" else _features(settings, precision)
    head = trained.as_keras(settings.train.dropout)
    state = fine_tuning.fine_tune(
        paths.IMAGES,
        tuned,
        head,
        settings.train,
        statistics=settings.embed.statistics,
        scales=settings.embed.scales,
        class_weight=class_weight,
        weight_decay=trained.weight_decay,
        image_size=settings.backbone.image_size,
        views=settings.embed.views,
        precision=precision,
        seed=settings.seed,
        start_roc_auc=start.best_roc_auc,
        work=work,
        cache_megabytes=settings.execution.cache_megabytes,
        on_epoch=on_epoch,
    )
    features.set_weights(tuned.get_weights())
    _save(settings, features, trained.with_weights(head).head)
    return state


def _features(settings: params.Params, precision: str) -> Any:
    return pooling.saved_features(
        paths.BACKBONE_WEIGHTS, settings.backbone, settings.embed, precision
    )


def _save(settings: params.Params, features: Any, head: Head) -> None:
    model = image_model.assemble(
        features,
        image_model.keras_head(head, settings.train.dropout),
        settings.embed.views,
        settings.backbone.image_size,
    )
    image_model.save(model, paths.IMAGE_MODEL)


def _summaries(states: dict[str, loop.State]) -> dict[str, Any]:
    """What each phase came to; of `fine_tune`, whether it was better than the phase before."""
    summary: dict[str, Any] = {
        name: {
            "epochs": state.history[-1]["epoch"] if state.history else 0,
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
    where = f"best after epoch {best['best_epoch']} of {best['epochs']} of {phase}"
    if best.get("hidden") == []:
        where = f"head solved in {best['epochs']} iterations under penalty {best['weight_decay']:g}"
    return f"train: {where}, validation ROC-AUC {best['valid_roc_auc']:.4f}."


if __name__ == "__main__":
    main()
