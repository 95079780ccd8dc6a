"""The MLflow store: how runs are found in it and written to it.

The store is `mlflow.db` and `mlartifacts/` in the user's repository unless `MLFLOW_TRACKING_URI`
says otherwise, also where DVC runs a stage in a temporary copy.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from deepfake.common.address import uri
from deepfake.common.environment import repository
from deepfake.common.filters import quoted
from deepfake.params import TrackingParams
from deepfake.tracking import lineage, page
from deepfake.tracking.connection import client, create_missing, require_usable
from deepfake.tracking.record import Kind, Operation, Record
from deepfake.tracking.waiting import allow, locked

_BATCH_PARAMS, _BATCH_METRICS = 100, 1000  # that MLflow takes in one request
_MOST_PAGES = 1000  # of a thousand runs each
_CONTEXT = "mlflow.data.context"  # the tag by which the UI shows what an input was used for
# The tags that runs of the same model in the same DVC experiment share.
_ROW = ("row", "experiment", "repository")


@dataclass(frozen=True)
class Found:
    """A run in the store."""

    run_id: str
    experiment_id: str
    status: str
    tags: dict[str, str]


# --- The two experiments


def experiments(name: str) -> dict[Kind, str]:
    """The ids of the two MLflow experiments, by the kind of their runs: `name` holds the rows of
    models, and `<name>-stages` the runs of other stages. What is missing is created.

    A lock is needed because processes that open a fresh SQLite store together crash.
    """
    with locked(repository() / "cache" / "mlflow.lock"):
        require_usable()
        create_missing()
        return {"model": _experiment(name, "model"), "data": _experiment(name, "data")}


def _experiment(name: str, kind: Kind) -> str:
    full_name = name if kind == "model" else f"{name}-stages"
    tags = page.experiment_tags(name, kind)
    found = client().get_experiment_by_name(full_name)
    if found is None:
        # Else the artifact folder would lie in the temporary copy that DVC runs a stage in.
        local = uri().startswith("sqlite")
        location = (repository() / "mlartifacts").as_uri() if local else None
        return str(client().create_experiment(full_name, location, tags))
    if found.lifecycle_stage == "deleted":
        client().restore_experiment(found.experiment_id)
    for key, value in tags.items():
        if key not in found.tags:  # what the user has changed stays
            client().set_experiment_tag(found.experiment_id, key, value)
    return str(found.experiment_id)


# --- Finding runs


def find(settings: TrackingParams, **tags: str) -> list[Found]:
    """The runs with these tags, of both kinds, the newest first."""
    allow(settings.deadline_seconds)
    return list(_search(experiments(settings.experiment).values(), tags))


def _search(
    experiment_ids: Iterable[str], tags: Mapping[str, str | None], status: str = ""
) -> Iterator[Found]:
    wanted = {key: value for key, value in tags.items() if value is not None}
    conditions = [
        f"tags.{key} = {inside}" for key, value in wanted.items() if (inside := quoted(value))
    ]
    if status:
        conditions.append(f"attributes.status = '{status}'")
    token, tokens = None, set[str]()
    while True:
        runs = client().search_runs(
            list(experiment_ids),
            " and ".join(conditions),
            order_by=["start_time DESC"],
            page_token=token,
        )
        for run in runs:
            if wanted.items() <= run.data.tags.items():  # also those that no filter can hold
                info = run.info
                yield Found(info.run_id, info.experiment_id, info.status, dict(run.data.tags))
        token = runs.token
        if not token:
            return
        if token in tokens or len(tokens) == _MOST_PAGES:
            raise OSError("the store's list of runs has no end")
        tokens.add(token)


# --- Writing runs


def open_run(record: Record) -> None:
    """Find the run that `record` continues, or create one; sets `record.run_id`."""
    experiment_id = experiments(record.experiment)[record.kind]
    if record.run_id is None and record.model_sha256 is not None:
        record.run_id = _continued(record, experiment_id)
    if record.run_id is None:
        tags = dict(record.tags)
        if record.model_sha256 is not None:
            tags["model_sha256"] = record.model_sha256
        created = client().create_run(experiment_id, record.start, tags, record.name)
        record.run_id = str(created.info.run_id)


def _continued(record: Record, experiment_id: str) -> str | None:
    """The newest run of the same model, if this stage is not in it yet."""
    wanted = {name: record.tags.get(name) for name in _ROW}
    found = next(_search([experiment_id], {**wanted, "model_sha256": record.model_sha256}), None)
    if found is None:
        return None
    stages = found.tags["stage"].split(", ")
    # A run that has this stage already keeps its parameters and metrics together.
    if record.tags["stage"] in stages:
        return None
    client().set_tag(found.run_id, "stage", ", ".join([*stages, record.tags["stage"]]))
    return found.run_id


def apply(run_id: str, operation: Operation, root: Path) -> None:
    """Write one operation; writing it twice has the effect of writing it once.

    Args:
        root: the folder that the operation's path is relative to.
    """
    from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag

    api = client()
    values = operation.get("values", {})
    match operation["do"]:
        case "params":
            known = api.get_run(run_id).data.params
            new = [Param(key, value) for key, value in values.items() if key not in known]
            for start in range(0, len(new), _BATCH_PARAMS):
                api.log_batch(run_id, params=new[start : start + _BATCH_PARAMS])
        case "metrics":
            of = _model_and_data(run_id, operation["split"]) if operation.get("split") else {}
            points = [Metric(*point, **of) for point in operation["points"]]
            for start in range(0, len(points), _BATCH_METRICS):
                api.log_batch(run_id, metrics=points[start : start + _BATCH_METRICS])
        case "tags":
            api.log_batch(run_id, tags=[RunTag(key, value) for key, value in values.items()])
        case "text":
            api.log_text(run_id, operation["text"], operation["file"])
        case "files":
            path = root / operation["path"]
            sender = client(upload=path)
            send = sender.log_artifacts if path.is_dir() else sender.log_artifact
            send(run_id, str(path), operation["folder"])
        case "input":
            tags = [InputTag(_CONTEXT, operation["context"])]
            api.log_inputs(run_id, [DatasetInput(Dataset(**operation["data"]), tags)])
        case "model":
            _log_model(run_id, root / operation["path"] if "path" in operation else None)
        case "current":
            make_current(run_id)


def _log_model(run_id: str, folder: Path | None) -> None:
    """Name the run's model if it has none, and give it the files in `folder` if it has none."""
    from mlflow.entities import LoggedModelOutput, LoggedModelStatus

    api = client()
    run = api.get_run(run_id)
    if run.outputs and run.outputs.model_outputs:
        model = api.get_logged_model(run.outputs.model_outputs[0].model_id)
    else:
        name, params = run.data.tags["row"], run.data.params
        model = api.create_logged_model(
            run.info.experiment_id, name, source_run_id=run_id, params=params
        )
        api.log_outputs(run_id, [LoggedModelOutput(model.model_id, 0)])
    if folder is not None and model.status != LoggedModelStatus.READY:
        client(upload=folder).log_model_artifacts(model.model_id, str(folder))
        api.finalize_logged_model(model.model_id, "READY")


def _model_and_data(run_id: str, split: str) -> dict[str, str]:
    """The run's model and its data of a split, as `Metric` names them; as far as it has them."""
    run = client().get_run(run_id)
    of = {}
    if run.outputs and run.outputs.model_outputs:
        of["model_id"] = run.outputs.model_outputs[0].model_id
    for item in run.inputs.dataset_inputs if run.inputs else []:
        if any(tag.key == _CONTEXT and tag.value == split for tag in item.tags):
            of |= {"dataset_name": item.dataset.name, "dataset_digest": item.dataset.digest}
    return of


def set_tags(run: Found, tags: Mapping[str, str]) -> None:
    """Set tags of a run, as far as it does not have them already."""
    for key, value in tags.items():
        if run.tags.get(key) != value:
            client().set_tag(run.run_id, key, value)


def make_current(run_id: str) -> None:
    """Give a run the tag `current` of its row in its DVC experiment, and take it from any other."""
    api = client()
    run = api.get_run(run_id)
    wanted = {name: run.data.tags.get(name) for name in _ROW}
    for other in list(_search([run.info.experiment_id], {**wanted, "current": "true"})):
        if other.run_id != run_id:
            api.set_tag(other.run_id, "current", "false")
    api.set_tag(run_id, "current", "true")


def mark_killed(name: str) -> None:
    """Mark runs of `experiments(name)` as KILLED that are RUNNING though the process that wrote
    them is gone."""
    own_host = lineage.process().split(" ")[0]
    for found in list(_search(experiments(name).values(), {}, status="RUNNING")):
        host, _, identity = found.tags.get("process", "").partition(" ")
        if host == own_host and not _alive(identity):
            client().set_terminated(found.run_id, "KILLED")


def _alive(identity: str) -> bool:
    pid, _, started = identity.partition(" ")
    try:
        return f"{psutil.Process(int(pid)).create_time():.0f}" == started
    except (psutil.Error, ValueError):
        return False
