"""The two rows that an experiment has in MLflow, `baseline` and `image`: what is in them, and that
each experiment has exactly one current one of each, however it was made.

Everything in a row is read from the pipeline's outputs. So the row of a stage that DVC restored
from its cache can be written without running it, and is linked to the run that made it by the
model's digest.
"""

import hashlib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from deepfake.common.files import read_json, sha256_file
from deepfake.common.labels import SPLITS
from deepfake.metadata.table import FEATURES, read_metadata, varying
from deepfake.params import Params
from deepfake.tracking import lineage
from deepfake.tracking.run import DIGESTED, Found, Run, find, make_current, start_run

MODELS = {"baseline": "data/models/baseline.joblib", "image": "data/models/image.keras"}
# The stages that a row comes from, and those among them that write it.
ANCESTRY = {
    "baseline": ("ingest", "metadata", "baseline"),
    "image": ("ingest", "backbone", "embed", "train", "evaluate"),
}
PARTS = {"baseline": ("baseline",), "image": ("train", "evaluate")}


def log_baseline(run: Run, root: Path, settings: Params, *, model_from: str | None = None) -> None:
    """The baseline's whole row. `model_from`: the run whose model is the same, to copy."""
    run.params(_shared(settings) | {"baseline": settings.baseline.model_dump()})
    train = read_metadata(root / "data/metadata/train.csv", ["label", *FEATURES])
    coefficients = pd.read_csv(root / "plots/baseline/coefficients.csv")
    used = varying(train)
    run.params({"baseline": {"features": used}})
    run.metrics({"weight": coefficients.set_index("feature")["coefficient"].to_dict()})
    first = partial(read_metadata, rows=DIGESTED)
    _log_data(run, root / "metrics/data.json", "metadata", root / "data/metadata", first)
    if not (model_from and run.model_of(model_from)):
        run.sklearn_model(root / MODELS["baseline"], train[used].head(5))
    _log_scores(run, root, "baseline", settings)
    _finish(run, root, "baseline", "baseline")


def log_training(
    run: Run,
    root: Path,
    settings: Params,
    *,
    model_from: str | None = None,
    epochs: bool = True,
) -> None:
    """The image row as far as `train` knows it. `model_from`: the run whose model is the same, to
    copy; without `epochs` the history has been logged already, as it came about."""
    sections = ("backbone", "embed", "train")
    run.params(
        _shared(settings) | {name: getattr(settings, name).model_dump() for name in sections}
    )
    facts = read_json(root / "metrics/train.json")
    run.metrics({"train": facts})
    run.tags({"weights": facts["weights"], "precision": facts["precision"]})
    if epochs:
        history = pd.read_csv(root / "plots/image/history.csv")
        for row in history.to_dict("records"):
            log_epoch(run, {str(key): value for key, value in row.items()})
    run.files([root / "metrics/train.json"])
    _log_plots(run, [root / "plots/image/history.png", root / "plots/image/history.csv"])
    # Not metrics/data.json, which `metadata` writes: that need not have run.
    report = root / "data/images/report.json"
    _log_data(
        run,
        report,
        "images",
        root / "data/embeddings",
        lambda path: pd.read_csv(path, nrows=DIGESTED),
    )
    if not (model_from and run.model_of(model_from)):
        run.keras_model(root / MODELS["image"])
    _finish(run, root, "image", "train")


def log_epoch(run: Run, row: Mapping[str, Any]) -> None:
    """One row of the training history, as curves over the epochs. (Names sort after the metrics
    that both rows have, which the page shows first.)"""
    values = {
        f"training_{key}": value for key, value in row.items() if key not in ("epoch", "phase")
    }
    run.metrics(values, int(row["epoch"]))


def log_evaluation(run: Run, root: Path, settings: Params) -> None:
    """The image row as far as `evaluate` knows it."""
    _log_scores(run, root, "image", settings)
    _finish(run, root, "image", "evaluate")


def ensure(root: Path, settings: Params, origin: Mapping[str, str] | None = None) -> list[str]:
    """See to it that the experiment whose outputs are in `root` has its two current rows.

    Returns:
        The names of the rows that had to be written, in part or as a whole.
    """
    origin = lineage.origin() if origin is None else dict(origin)
    return [name for name in PARTS if _ensure_row(name, root, settings, origin)]


def _ensure_row(name: str, root: Path, settings: Params, origin: dict[str, str]) -> bool:
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
    sums = _checksums(root, name)
    started = next((row for row in finished if _started(row, sums)), None)
    missing = [part for part in PARTS[name] if not (started and _has(started, part))]
    with start_run(
        settings.tracking,
        stage=", ".join(PARTS[name]),
        kind="model",
        name=name,
        run_id=started.run_id if started else None,
        origin=origin,
    ) as run:
        _write_parts(run, root, settings, name, missing, sums["model_sha256"])
        run.tags({"dvc_lock": digest, "stage": ", ".join(PARTS[name])})
        run.current()
    return bool(missing)


def _key(name: str, origin: Mapping[str, str]) -> dict[str, str]:
    return {"row": name, **{key: origin[key] for key in ("experiment", "repository")}}


def _started(row: Found, sums: dict[str, str]) -> bool:
    """Whether a run is of these outputs, as far as it goes, and no row of others yet."""
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
    """The parts of a row that the stages did not write, since DVC restored their outputs."""
    model_from = (
        _made_by(settings, name, model_sha256) if {"baseline", "train"} & {*missing} else None
    )
    if model_from:
        run.tags({"made_by": model_from})
    if "baseline" in missing:
        log_baseline(run, root, settings, model_from=model_from)
    if "train" in missing:
        log_training(run, root, settings, model_from=model_from)
    if "evaluate" in missing:
        log_evaluation(run, root, settings)


def _made_by(settings: Params, name: str, model_sha256: str) -> str | None:
    """The run that made a model: the oldest one that has it."""
    rows = find(settings.tracking, row=name, model_sha256=model_sha256)
    made = [row for row in rows if _has(row, PARTS[name][0])]
    return made[-1].run_id if made else None


def _shared(settings: Params) -> dict[str, Any]:
    """Parameters that both rows carry: the data decides both."""
    return {"seed": settings.seed, "data": settings.data.model_dump()}


def _log_scores(run: Run, root: Path, name: str, settings: Params) -> None:
    run.params({"evaluate": {"threshold": settings.evaluate.threshold}})
    run.metrics(read_json(root / f"metrics/{name}.json"))
    drawn = sorted((root / "plots" / name).iterdir())
    _log_plots(run, [path for path in drawn if path.stem != "history"])  # which is `train`'s
    run.files([root / f"data/predictions/{name}"], "predictions")


def _log_plots(run: Run, files: list[Path]) -> None:
    """Figures at the top of the artifacts: MLflow's page compares only what is there."""
    run.files([path for path in files if path.suffix != ".csv"])
    run.files([path for path in files if path.suffix == ".csv"], "curves")


def _log_data(
    run: Run,
    report: Path,
    name: str,
    folder: Path,
    first: Callable[[Path], pd.DataFrame],
) -> None:
    """Log the tables of the splits in `folder`, of which `first` reads as many rows as it takes.
    `report` says where the images are from and how many there are."""
    facts = read_json(report)
    source = facts["source"]
    run.tags({f"source_{key}": value for key, value in source.items() if value})
    for split in SPLITS:
        table, image_files = first(folder / f"{split}.csv"), facts["counts"][split]
        run.data(table, f"{name}-{split}", split, str(source["name"]), sum(image_files.values()))


def _checksums(root: Path, name: str) -> dict[str, str]:
    """Tags that tell what a row is of: the model, and what was made of its scores."""
    digest = hashlib.sha256()
    predictions = [f"data/predictions/{name}/{split}.csv" for split in ("valid", "test")]
    for path in (f"metrics/{name}.json", *predictions):
        digest.update((root / path).read_bytes())
    return {"model_sha256": sha256_file(root / MODELS[name]), "scores_sha256": digest.hexdigest()}


def _has(row: Found, part: str) -> bool:
    return row.tags.get(f"logged_{part}") == "true"


def _finish(run: Run, root: Path, name: str, part: str) -> None:
    """Say, last of all, what the run is of and which part of the row it has."""
    if part == PARTS[name][-1]:
        run.tags(_checksums(root, name))
        run.current()
    else:
        run.tags({"model_sha256": sha256_file(root / MODELS[name])})
    run.tags({f"logged_{part}": "true"})
