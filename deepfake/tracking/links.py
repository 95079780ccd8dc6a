"""Tags and notes that link a row to the runs of the stages that it comes from, both ways."""

from collections.abc import Iterable
from pathlib import Path

from deepfake.params import TrackingParams
from deepfake.tracking import lineage, page
from deepfake.tracking.store import Found, find, set_tags

_NOTE_OF_ROW = "Comes from "


def link(settings: TrackingParams, row: Found, stages: Iterable[str], root: Path) -> None:
    """Link a row and the runs of `stages`, as far as there are any.

    The row gets a tag `run_<stage>` for each, with the run's id. The run of a stage gets a tag
    `row_<name>` with the id of the newest row that comes from it. Notes lead there in the page.

    Args:
        root: the folder with the `dvc.lock` that the row is of.
    """
    digests = {stage: _digest(root, stage) for stage in stages}
    found = {stage: _run_of(settings, row, stage, digests[stage]) for stage in digests}
    runs = {stage: run for stage, run in found.items() if run is not None}
    if not runs:
        return
    tags = {f"run_{stage}": run.run_id for stage, run in runs.items()}
    links = [
        f"[{stage}]({page.run_address(run.experiment_id, run.run_id)})"
        for stage, run in runs.items()
    ]
    if row.tags.get(page.NOTE, _NOTE_OF_ROW).startswith(_NOTE_OF_ROW):  # not the user's own
        tags[page.NOTE] = f"{_NOTE_OF_ROW}the runs {', '.join(links)}."
    set_tags(row, tags)
    for stage, run in runs.items():
        rows = page.search_address(row.experiment_id, f'tags.run_{stage} = "{run.run_id}"')
        note = {page.NOTE: f"[The rows that come from this run]({rows})."}
        digest = digests[stage]
        known = {"dvc_lock": digest} if digest else {}
        set_tags(run, {**note, **run.tags, **known, f"row_{row.tags['row']}": row.run_id})


def _run_of(settings: TrackingParams, row: Found, stage: str, digest: str | None) -> Found | None:
    """The run of a stage that made what the row comes from, where DVC restored it as well.

    Args:
        digest: of the stage's entry in `dvc.lock`, if it is known.
    """
    place = row.tags["repository"]
    same = find(settings, stage=stage, repository=place, dvc_lock=digest) if digest else []
    if same:
        return same[0]
    here = find(settings, stage=stage, repository=place, experiment=row.tags["experiment"])
    # A run that has the tag already made something else.
    finished = (run for run in here if run.status == "FINISHED" and "dvc_lock" not in run.tags)
    return next(finished, None)


def _digest(root: Path, stage: str) -> str | None:
    """The digest of a stage's entry in `dvc.lock`; None for those in which links are made, as DVC
    has not written theirs yet."""
    return None if stage in ("compare", "export") else lineage.lock_digest(root, [stage])
