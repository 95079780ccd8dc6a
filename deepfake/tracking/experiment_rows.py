"""Write the two rows of an experiment in MLflow, `baseline` and `image`.

Each experiment has exactly one current row of each name, however its outputs were made.

Everything in a row is read from the pipeline's outputs (`row_contents`). So the row of a stage that
DVC restored from its cache can be written without running it, and is linked to the run that made it
by the model's digest.
"""

import shutil
import tempfile
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path

from deepfake.common import paths
from deepfake.common.files import read_json
from deepfake.params import Params
from deepfake.serving import description
from deepfake.tracking import lineage, links, row_contents
from deepfake.tracking.row_contents import PARTS
from deepfake.tracking.run import Run, start_run
from deepfake.tracking.store import Found, find, make_current

# The stages that a row comes from.
ANCESTRY = {
    "baseline": ("ingest", "metadata", "baseline"),
    "image": ("ingest", "backbone", "embed", "train", "evaluate"),
}
# The tag of the row `image` with the digest of the exported detector that is its model.
_EXPORTED = "exported_sha256"


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
        sums = row_contents.checksums(root, name)
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
    files = row_contents.figures(name, root)
    digest = row_contents.digest_of(files.values())
    if not rows or rows[0].tags.get("figures_sha256") == digest:
        return False
    with (
        tempfile.TemporaryDirectory() as folder,
        _row(name, settings, origin, rows[0].run_id) as run,
    ):
        for target, path in files.items():
            shutil.copyfile(path, Path(folder) / target)
        run.files([folder])
        run.metrics(row_contents.group_metrics(name, root))
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
        row_contents.log_baseline(run, root, settings, model_from=model_from)
    if "train" in missing:
        row_contents.log_training(run, root, settings)
    if "evaluate" in missing:
        row_contents.log_evaluation(run, root, settings)


def _made_by(settings: Params, name: str, model_sha256: str) -> str | None:
    """The run that made a model: the oldest one that has it."""
    rows = find(settings.tracking, row=name, model_sha256=model_sha256)
    made = [row for row in rows if _has(row, PARTS[name][0])]
    return made[-1].run_id if made else None


def _has(row: Found, part: str) -> bool:
    return row.tags.get(f"logged_{part}") == "true"
