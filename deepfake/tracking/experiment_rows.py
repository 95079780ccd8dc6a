"""Write the two rows of an experiment in MLflow, `baseline` and `image`.

Each experiment has exactly one current row of each name, however its outputs were made.

Everything in a row is read from the pipeline's outputs. So the row of a stage that DVC restored
from its cache can be written without running it, and is linked to the run that made it by the
model's digest.
"""

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from deepfake.common import paths
from deepfake.common.files import read_json, sha256_file
from deepfake.common.labels import SPLITS
from deepfake.metadata.table import FEATURES, read_metadata, varying
from deepfake.params import Params
from deepfake.serving import description
from deepfake.tracking import lineage, links
from deepfake.tracking.run import DIGESTED, Run, start_run
from deepfake.tracking.store import Found, find, make_current

# The files that training wrote, by which the runs of a row are found.
MODELS = {"baseline": paths.BASELINE_MODEL, "image": paths.IMAGE_MODEL}
# The stages that a row comes from, and those among them that write it.
ANCESTRY = {
    "baseline": ("ingest", "metadata", "baseline"),
    "image": ("ingest", "backbone", "embed", "train", "evaluate"),
}
PARTS = {"baseline": ("baseline",), "image": ("train", "evaluate")}
# The tag of the row `image` with the digest of the exported detector that is its model.
_EXPORTED = "exported_sha256"
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


def ensure(
    root: Path,
    settings: Params,
    origin: Mapping[str, str] | None = None,
    *,
    exported: bool = False,
) -> list[str]:
    """Give the experiment whose outputs are in `root` its two current rows, with their figures and
    links to the runs of the stages that they come from.

    Does nothing for what is there already.

    Args:
        origin: tags that say where new rows come from; by default `lineage.origin`.
        exported: whether `export` has written the detector of these outputs.

    Returns:
        The names of the rows that had to be written, in part or as a whole.
    """
    origin = lineage.origin() if origin is None else dict(origin)
    written = []
    for name in PARTS:
        sums = _checksums(root, name)
        started = _ensure_row(name, root, settings, origin, sums)
        added = _ensure_figures(name, root, settings, origin, sums)
        if name == "image":
            added |= _ensure_model(root, settings, origin, sums, exported=exported)
        if started or added:
            written.append(name)
        rows = find(settings.tracking, **_key(name, origin), current="true")
        if rows:
            stages = [stage for stage in ANCESTRY[name] if stage not in PARTS[name]]
            last = ["compare", "export"] if exported else ["compare"]
            links.link(settings.tracking, rows[0], [*stages, *last], root)
    return written


def complete(root: Path, settings: Params) -> set[str]:
    """List the experiments in this repository whose two rows are complete, with figures and model,
    for the outputs in `root/dvc.lock`."""
    having = []
    exported = lineage.lock_digest(root, ["export"]) is not None
    for name, stages in ANCESTRY.items():
        digest = str(lineage.lock_digest(root, stages))
        wanted = {**lineage.place(), "row": name, "current": "true", "dvc_lock": digest}
        found = find(settings.tracking, **wanted)
        needed = {"figures_sha256"} | ({_EXPORTED} if exported and name == "image" else set())
        having.append({row.tags["experiment"] for row in found if needed <= {*row.tags}})
    return set.intersection(*having)


def _ensure_row(
    name: str, root: Path, settings: Params, origin: dict[str, str], sums: dict[str, str]
) -> bool:
    """Write what is missing from a row, except its figures; return whether anything was."""
    digest = lineage.lock_digest(root, ANCESTRY[name])
    if digest is None:  # the stages were called without DVC
        return False
    rows = find(settings.tracking, **_key(name, origin))
    finished = [row for row in rows if row.status == "FINISHED"]
    for row in finished:
        if row.tags.get("dvc_lock") == digest:
            if row.tags.get("current") != "true":
                make_current(row.run_id)
            return False
    started = next((row for row in finished if _started(row, sums)), None)
    missing = [part for part in PARTS[name] if not (started and _has(started, part))]
    run_id = started.run_id if started else None
    with _row(name, settings, origin, run_id) as run:
        _write_parts(run, root, settings, name, missing, sums["model_sha256"])
        run.tags({"dvc_lock": digest, "stage": ", ".join(PARTS[name])})
        run.current()
    return bool(missing)


def _ensure_figures(
    name: str, root: Path, settings: Params, origin: dict[str, str], sums: dict[str, str]
) -> bool:
    """Add the figures and the report that `compare` made to the current row, at the top of its
    artifacts, where the page compares them; returns whether they were missing."""
    wanted = {**_key(name, origin), "current": "true", **sums}
    rows = find(settings.tracking, **wanted)
    files = _figures(name, root)
    digest = _digest(files.values())
    if not rows or rows[0].tags.get("figures_sha256") == digest:
        return False
    with (
        tempfile.TemporaryDirectory() as folder,
        _row(name, settings, origin, rows[0].run_id) as run,
    ):
        for target, path in files.items():
            shutil.copyfile(path, Path(folder) / target)
        run.files([folder])
        run.metrics(_of_groups(name, root))
        run.tags({"figures_sha256": digest})
    return True


def _ensure_model(
    root: Path, settings: Params, origin: dict[str, str], sums: dict[str, str], *, exported: bool
) -> bool:
    """Give the model of the current row `image` its files, unless it has them: those of another row
    of the same outputs, or those that `export` has written; returns whether it got them."""
    rows = find(settings.tracking, row="image", **sums)
    wanted = {**_key("image", origin), "current": "true"}
    current = next((row for row in rows if wanted.items() <= row.tags.items()), None)
    if current is None or _EXPORTED in current.tags:
        return False
    other = next((row for row in rows if _EXPORTED in row.tags), None)
    if not (exported or other):
        return False
    with _row("image", settings, origin, current.run_id) as run:
        if other and run.model_of(other.run_id):
            run.tags({_EXPORTED: other.tags[_EXPORTED]})
        elif exported and run.detector(root / paths.EXPORTED, root / paths.DETECTOR):
            run.tags({_EXPORTED: read_json(root / paths.EXPORTED / description.FILE)["digest"]})
        else:
            return False
    return True


def _of_groups(name: str, root: Path) -> dict[str, dict[str, dict[str, float]]]:
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


def _figures(name: str, root: Path) -> dict[str, Path]:
    """The figures and the report that `compare` made, by their names in MLflow. Both rows use the
    same names, because the page compares files of equal names."""
    plots = root / paths.FIGURES
    shared = {f"{kind}.png": plots / f"{name}_{kind}.png" for kind in _SHARED_FIGURES}
    both = {"reliability.png": plots / "reliability.png", paths.REPORT.name: root / paths.REPORT}
    own = {figure: plots / figure for figure in (_OWN_FIGURE[name], "external.png")}
    if not own["external.png"].exists():  # there is no data set never trained on
        del own["external.png"]
    return {**shared, **both, **own}


def _row(
    name: str, settings: Params, origin: dict[str, str], run_id: str | None
) -> AbstractContextManager[Run]:
    """The run of a row, to add to or to begin, as `start_run` gives it."""
    return start_run(
        settings.tracking,
        stage=", ".join(PARTS[name]),
        kind="model",
        name=name,
        run_id=run_id,
        origin=origin,
    )


def _key(name: str, origin: Mapping[str, str]) -> dict[str, str]:
    return {"row": name, **{key: origin[key] for key in ("experiment", "repository")}}


def _started(row: Found, sums: dict[str, str]) -> bool:
    """Whether a run logs these outputs, as far as it was written, and is not a complete row yet."""
    tags = row.tags
    return "dvc_lock" not in tags and all(tags.get(key, sums[key]) == sums[key] for key in sums)


def _write_parts(
    run: Run,
    root: Path,
    settings: Params,
    name: str,
    missing: list[str],
    model_sha256: str,
) -> None:
    """Write the parts of a row whose stages did not run, because DVC restored their outputs."""
    model_from = (
        _made_by(settings, name, model_sha256) if {"baseline", "train"} & {*missing} else None
    )
    if model_from:
        run.tags({"made_by": model_from})
    if "baseline" in missing:
        log_baseline(run, root, settings, model_from=model_from)
    if "train" in missing:
        log_training(run, root, settings)
    if "evaluate" in missing:
        log_evaluation(run, root, settings)


def _made_by(settings: Params, name: str, model_sha256: str) -> str | None:
    """The run that made a model: the oldest one that has it."""
    rows = find(settings.tracking, row=name, model_sha256=model_sha256)
    made = [row for row in rows if _has(row, PARTS[name][0])]
    return made[-1].run_id if made else None


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


def _checksums(root: Path, name: str) -> dict[str, str]:
    """Tags that identify the outputs that a row is of: the model, and its scores and metrics."""
    scores = [root / paths.predictions(name) / f"{split}.csv" for split in ("valid", "test")]
    return {
        "model_sha256": sha256_file(root / MODELS[name]),
        "scores_sha256": _digest(
            [root / paths.decision(name), root / paths.metrics_file(name), *scores]
        ),
    }


def _digest(files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in files:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _has(row: Found, part: str) -> bool:
    return row.tags.get(f"logged_{part}") == "true"


def _finish(run: Run, root: Path, name: str, part: str) -> None:
    """Tag the run, last of all, with digests of its outputs and the part of its row."""
    if part == PARTS[name][-1]:
        run.tags(_checksums(root, name))
        run.current()
    else:
        run.tags({"model_sha256": sha256_file(root / MODELS[name])})
    run.tags({f"logged_{part}": "true"})
