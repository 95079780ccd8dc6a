"""What the two rows of an experiment say, read from the pipeline's outputs.

`experiment_rows` decides which row says it.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from deepfake.common import paths
from deepfake.common.files import read_json, sha256_file
from deepfake.common.labels import SPLITS
from deepfake.metadata.table import FEATURES, read_metadata, varying
from deepfake.params import Params
from deepfake.tracking.run import DIGESTED, Run

# The files that training wrote, by which the runs of a row are found.
MODELS = {"baseline": paths.BASELINE_MODEL, "image": paths.IMAGE_MODEL}
# The stages that write a row.
PARTS = {"baseline": ("baseline",), "image": ("train", "evaluate")}
# The first word of the image model's own metrics. The page sorts by name; so they come after those
# that both rows have, `test_…` and `valid_…`.
_TRAINING = "while_training"
# Parameters of the data that would only fill the comparison: limits, and how images are stored.
# The run of `ingest` has them.
_OF_INGEST_ALONE = {"archive", "max_bad_fraction", "shard_megabytes"}
_SHARED_FIGURES = ("roc", "precision_recall", "confusion", "scores")
_OWN_FIGURE = {"baseline": "coefficients.png", "image": "history.png"}


def log_baseline(run: Run, root: Path, settings: Params, *, model_from: str | None = None) -> None:
    """Log the baseline's whole row, except for the figures.

    Args:
        root: the folder with the pipeline's outputs.
        model_from: the run whose model is the same; it is copied.
    """
    run.params(_shared(settings) | {"baseline": settings.baseline.model_dump()})
    train = read_metadata(root / paths.METADATA / "train.csv", ["label", *FEATURES])
    coefficients = pd.read_csv(root / paths.COEFFICIENTS)
    used = varying(train)
    run.params({"baseline": {"features": used}})
    run.metrics({"weight": coefficients.set_index("feature")["coefficient"].to_dict()})
    first = partial(read_metadata, rows=DIGESTED)
    _log_data(run, root / paths.DATA_SUMMARY, "metadata", root / paths.METADATA, first)
    if not (model_from and run.model_of(model_from)):
        run.sklearn_model(root / MODELS["baseline"], train[used].head(5))
    _log_scores(run, root, "baseline", settings)
    _finish(run, root, "baseline", "baseline")


def log_training(
    run: Run,
    root: Path,
    settings: Params,
    *,
    epochs: bool = True,
) -> None:
    """Log the image row as far as `train` knows it: all but the model, which `evaluate` finishes.

    Args:
        root: the folder with the pipeline's outputs.
        epochs: whether to log the history too; False if each epoch was logged as it ended.
    """
    sections = {
        name: getattr(settings, name).model_dump()
        for name in ("backbone", "embed", "train", "execution")
    }
    sections["train"] = _effective(settings)
    run.params(_shared(settings) | sections)
    facts = read_json(root / paths.TRAINING_SUMMARY)
    run.metrics({_TRAINING: facts})
    run.tags({"weights": facts["weights"], "precision": facts["precision"]})
    history = root / paths.HISTORY
    if epochs:
        for row in pd.read_csv(history).to_dict("records"):
            log_epoch(run, {str(key): value for key, value in row.items()})
    run.files([root / paths.TRAINING_SUMMARY], "training")
    run.files([history], "curves")
    # Not the summary that `metadata` writes: that stage need not have run.
    report = root / paths.IMAGES_REPORT
    _log_data(
        run,
        report,
        "images",
        root / paths.EMBEDDINGS,
        lambda path: pd.read_csv(path, nrows=DIGESTED),
    )
    _finish(run, root, "image", "train")


def log_epoch(run: Run, row: Mapping[str, Any]) -> None:
    """Log one row of the training history, as points of curves over the epochs."""
    values = {
        key: value
        for key, value in row.items()
        if key not in ("epoch", "phase") and pd.notna(value)  # a solver has no learning rate
    }
    run.metrics({_TRAINING: values}, int(row["epoch"]))


def log_evaluation(run: Run, root: Path, settings: Params) -> None:
    """Log the image row as far as `evaluate` knows it: all but the files of its model, which
    `export` writes."""
    run.model_to_come()
    run.tags({"detector_sha256": sha256_file(root / paths.DETECTOR)})
    _log_scores(run, root, "image", settings)
    _finish(run, root, "image", "evaluate")


def group_metrics(name: str, root: Path) -> dict[str, dict[str, dict[str, float]]]:
    """The metrics of a model on the test images of each source, where there are several, and on
    each data set never trained on."""
    return {
        kind: {
            group: {metric: one["value"] for metric, one in found.items()}
            for group, found in groups.items()
            if group != "test"  # which has all metrics of its own
        }
        for kind, groups in read_json(root / paths.groups(name)).items()
    }


def figures(name: str, root: Path) -> dict[str, Path]:
    """The figures and the report that `compare` made, by their names in MLflow. Both rows use the
    same names, because the page compares files of equal names."""
    plots = root / paths.FIGURES
    shared = {f"{kind}.png": plots / f"{name}_{kind}.png" for kind in _SHARED_FIGURES}
    both = {"reliability.png": plots / "reliability.png", paths.REPORT.name: root / paths.REPORT}
    own = {figure: plots / figure for figure in (_OWN_FIGURE[name], "external.png")}
    if not own["external.png"].exists():  # there is no data set never trained on
        del own["external.png"]
    return {**shared, **both, **own}


def checksums(root: Path, name: str) -> dict[str, str]:
    """Tags that identify the outputs that a row is of: the model, and its scores and metrics."""
    scores = [root / paths.predictions(name) / f"{split}.csv" for split in ("valid", "test")]
    return {
        "model_sha256": sha256_file(root / MODELS[name]),
        "scores_sha256": digest_of(
            [root / paths.decision(name), root / paths.metrics_file(name), *scores]
        ),
    }


def digest_of(files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in files:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _effective(settings: Params) -> dict[str, Any]:
    """The parameters of `train` that have an effect under its recipe."""
    values, recipe = settings.train.model_dump(), settings.train.recipe
    others = {name: values.pop(name) for name in ("transfer", "cnn")}
    if recipe != "probe":
        kept = {name: values[name] for name in ("recipe", "class_weight")}
        return {**kept, recipe: others[recipe]}
    if not settings.train.fine_tune.epochs:
        values["fine_tune"] = {"epochs": 0}
    return values


def _shared(settings: Params) -> dict[str, Any]:
    """Parameters that both rows carry: the data decides both. Those of sources that are not used
    are left out."""
    sources = {"sample", "kaggle", "folder"} - {settings.data.source}
    data = settings.data.model_dump(exclude=sources | _OF_INGEST_ALONE)
    return {"seed": settings.seed, "data": data}


def _log_scores(run: Run, root: Path, name: str, settings: Params) -> None:
    decided = read_json(root / paths.decision(name))
    chosen = {key: decided[key] for key in ("temperature", "threshold", "lower", "upper")}
    run.params({"evaluate": settings.evaluate.model_dump(), "decision": chosen})
    run.files([root / paths.decision(name)])
    run.scores(read_json(root / paths.metrics_file(name)))
    curves = root / paths.curves(name)
    run.files([curves / "classification_report.txt"])
    run.files(sorted(curves.glob("*.csv")), "curves")
    run.files([root / paths.predictions(name)], "predictions")


def _log_data(
    run: Run,
    report: Path,
    name: str,
    folder: Path,
    first: Callable[[Path], pd.DataFrame],
) -> None:
    """Log the tables of the splits in `folder`.

    Args:
        report: says where the images come from and how many there are.
        first: reads a table, as many rows as are needed.
    """
    facts = read_json(report)
    source = facts["source"]
    run.tags({f"source_{key}": value for key, value in source.items() if value})
    for split in SPLITS:
        table, image_files = first(folder / f"{split}.csv"), facts["counts"][split]
        run.data(table, f"{name}-{split}", split, str(source["name"]), sum(image_files.values()))


def _finish(run: Run, root: Path, name: str, part: str) -> None:
    """Tag the run, last of all, with digests of its outputs and the part of its row."""
    if part == PARTS[name][-1]:
        run.tags(checksums(root, name))
        run.current()
    else:
        run.tags({"model_sha256": sha256_file(root / MODELS[name])})
    run.tags({f"logged_{part}": "true"})
