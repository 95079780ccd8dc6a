"""The record of runs in MLflow; the one module that imports it.

The store is `mlflow.db` and `mlartifacts/` in the user's repository unless `MLFLOW_TRACKING_URI`
says otherwise, also where DVC runs a stage in a temporary copy. Recording never decides a result.
What cannot be logged is kept in `cache/outbox/` and delivered by the next run or `make sync`
(`tracking.policy: best_effort`), or stops the stage (`required`).
"""

import hashlib
import importlib
import json
import logging
import os
import platform
import re
import shutil
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import psutil
import yaml
from filelock import FileLock

from deepfake import beside
from deepfake.common.environment import repository
from deepfake.common.errors import PipelineError
from deepfake.params import TrackingParams
from deepfake.tracking import lineage

if TYPE_CHECKING:
    import pandas as pd

Kind = Literal["data", "model"]
Operation = dict[str, Any]
_PARAM_LENGTH = 500
_METRICS = 1000  # that MLflow takes in one request
DIGESTED = 10_000  # rows of a table
_STORE_PACKAGES = ("mlflow", "requests", "urllib3", "sqlalchemy", "sqlite3", "alembic")
_CONTEXT = "mlflow.data.context"  # the tag by which the UI shows what an input was used for


@dataclass
class Record:
    """A run as plain values: all that it takes to write it, now or later."""

    experiment: str  # MLflow's, not DVC's
    name: str
    tags: dict[str, str]
    model_sha256: str | None = None  # of the run to continue
    run_id: str | None = None
    operations: list[Operation] = field(default_factory=list)
    start: int = field(default_factory=lambda: _milliseconds())
    status: str = "RUNNING"
    end: int | None = None


@dataclass(frozen=True)
class Found:
    """A run in the store."""

    run_id: str
    status: str
    tags: dict[str, str]


class Run:
    """One MLflow run being written. After a failure the rest is only remembered, to be sent
    later."""

    def __init__(self, record: Record, policy: str) -> None:
        self.record = record
        self.reachable = True
        self.continued = record.run_id is not None  # and ended long ago
        self.place = _outbox() / f".{time.time_ns()}-{os.getpid()}"
        self.after: Callable[[], Any] | None = None
        self._policy = policy

    @property
    def run_id(self) -> str | None:
        return self.record.run_id

    def begin(self, changes: str | None) -> None:
        """Find or make the run in the store. `changes` to the code are logged with the
        environment; None: the run is not of this process's own work."""
        try:
            _begin(self.record)
        except Exception as error:
            self._failed(error)
        if changes is not None:
            environment = json.dumps(lineage.environment(), indent=2) + "\n"
            self.text(environment, "lineage/environment.json")
            if changes:
                self.text(changes, "lineage/changes.patch")

    def end(self, status: str) -> None:
        """Say how it ended: FINISHED, FAILED or KILLED."""
        self.record.status, self.record.end = status, _milliseconds()
        try:
            if self.reachable and self.run_id is not None and not self.continued:
                try:
                    _client().set_terminated(self.run_id, status, self.record.end)
                except Exception as error:
                    self._failed(error)
            if not self.reachable and self._policy == "best_effort":
                _keep(self)
            elif not self.reachable and self.run_id is not None:
                with suppress(Exception):  # the stage is failing for it already
                    _client().set_terminated(self.run_id, "FAILED", self.record.end)
        finally:
            shutil.rmtree(self.place, ignore_errors=True)
        if self.after is not None and status == "FINISHED":
            self._attempt(self.after)

    def _attempt(self, write: Callable[[], Any]) -> None:
        """Do something else with the store, under the policy for what cannot be logged."""
        try:
            write()
        except PipelineError:
            raise
        except Exception as error:
            _could_not_log(error, self._policy)

    def ahead(self, *modules: str) -> None:
        """Import modules that calls to come will need: where another process writes, meanwhile."""
        for name in modules:
            with suppress(ImportError):  # the call that needs it says so
                importlib.import_module(name)

    def params(self, values: Mapping[str, Any]) -> None:
        """Log nested parameters under dotted names; ones that the run has already stay."""
        flat = {key: _text(value) for key, value in flattened(values).items()}
        self._do({"do": "params", "values": flat})

    def metrics(self, values: Mapping[str, Any], step: int = 0) -> None:
        """Log the numbers among nested values under names joined with an underscore."""
        self._points([(values, step, _milliseconds())])

    def _points(self, calls: list[tuple[Mapping[str, Any], int, int]]) -> None:
        """Log the values of several steps together: (values, step, time in ms) of each."""
        points = [
            (re.sub(r"[^\w\-. :/]", "_", key), float(value), time, step)
            for values, step, time in calls
            for key, value in flattened(values, separator="_").items()
            if isinstance(value, int | float) and not isinstance(value, bool)
        ]
        self._do({"do": "metrics", "points": points})

    def tags(self, values: Mapping[str, Any]) -> None:
        self._do({"do": "tags", "values": {k: str(v) for k, v in values.items()}})

    def text(self, text: str, file: str) -> None:
        """Log `text` as the artifact `file`."""
        self._do({"do": "text", "text": text, "file": file})

    def files(self, paths: Iterable[Path | str], folder: str | None = None) -> None:
        """Log files, or the files of folders, as artifacts."""
        for path in paths:
            self._do({"do": "files", "path": str(path), "folder": folder})

    def data(
        self, table: "pd.DataFrame", name: str, context: str, source: str, rows: int | None = None
    ) -> None:
        """Log a table as an input: its schema, size and digest, not its rows. Of a table of `rows`
        rows the first `DIGESTED` are enough."""
        # MLflow's digest is of the first rows, too.
        shape = (rows or len(table), table.shape[1])
        self._described(table.head(DIGESTED), shape, name, context, source)

    def _described(
        self, table: "pd.DataFrame", shape: tuple[int, int], name: str, context: str, source: str
    ) -> None:
        def describe() -> Operation:
            import mlflow
            from mlflow.data.code_dataset_source import CodeDatasetSource

            # Integer columns could not hold missing values, which MLflow warns of every time.
            wide = table.astype(dict.fromkeys(table.select_dtypes("integer").columns, "float64"))
            origin = CodeDatasetSource({"mlflow.source.name": source})
            # Every one of the tables has its label beside the features.
            logged = mlflow.data.from_pandas(wide, source=origin, name=name, targets="label")
            entity = dict(logged._to_mlflow_entity())
            rows, columns = shape
            entity["profile"] = json.dumps({"num_rows": rows, "num_elements": rows * columns})
            entity["digest"] = hashlib.sha256(f"{entity['digest']} {rows}".encode()).hexdigest()[:8]
            return {"do": "input", "data": entity, "context": context}

        self._prepared(describe)

    def sklearn_model(self, path: Path | str, example: "pd.DataFrame") -> None:
        """Log a model that joblib wrote, of a table like `example` to the probabilities of the
        classes."""

        def save() -> Operation:
            import joblib
            import mlflow

            model = joblib.load(path)
            mlflow.sklearn.save_model(
                model,
                self.place / "model",
                signature=mlflow.models.infer_signature(example, model.predict_proba(example)),
                input_example=example,
                pyfunc_predict_fn="predict_proba",
                serialization_format="cloudpickle",
                pip_requirements=_requirements("scikit-learn", "pandas", "numpy", "cloudpickle"),
            )
            return {"do": "model", "path": str(self.place / "model")}

        self._prepared(save)

    def keras_model(self, path: Path | str) -> None:
        """Log a `.keras` file of a model from uint8 pixels (n, height, width, 3) to P(fake) (n, 1)
        with the flavour of `mlflow.tensorflow`, which would have to load it to write the same."""

        def save() -> Operation:
            import mlflow
            import numpy as np
            from mlflow.types import Schema, TensorSpec

            folder = self.place / "model"
            (folder / "data").mkdir(parents=True)
            shutil.copy2(path, folder / "data" / "model.keras")
            for name, text in (("keras_module", "tensorflow.keras"), ("save_format", "keras")):
                (folder / "data" / f"{name}.txt").write_text(text, encoding="utf-8")
            described = mlflow.models.Model(
                signature=mlflow.models.ModelSignature(
                    Schema([TensorSpec(np.dtype("uint8"), (-1, -1, -1, 3), "pixels")]),
                    Schema([TensorSpec(np.dtype("float32"), (-1, 1), "score")]),
                ),
                model_size_bytes=Path(path).stat().st_size,
            )
            described.add_flavor(
                "tensorflow",
                data="data",
                model_type="keras",
                keras_version=version("tensorflow"),
                save_format="keras",
            )
            mlflow.pyfunc.add_to_model(
                described,
                loader_module="mlflow.tensorflow",
                data="data",
                **_environment_files(folder, "mlflow", "tensorflow", "keras", "numpy"),
            )
            described.save(str(folder / "MLmodel"))
            return {"do": "model", "path": str(folder)}

        self._prepared(save)

    def model_of(self, run_id: str) -> bool:
        """Log a copy of the model that another run has; returns whether it has one."""
        copied = False

        def copy() -> Operation | None:
            nonlocal copied
            import mlflow

            outputs = _client().get_run(run_id).outputs
            if not outputs or not outputs.model_outputs:
                return None
            uri = f"models:/{outputs.model_outputs[0].model_id}"
            self.place.mkdir(parents=True, exist_ok=True)
            target = self.place / "model"
            mlflow.artifacts.download_artifacts(uri, dst_path=str(target))
            copied = True
            return {"do": "model", "path": str(target)}

        self._prepared(copy)
        return copied

    def current(self) -> None:
        """Make this the row of its name for its DVC experiment; an earlier one ceases to be."""
        self._do({"do": "current"})

    def _prepared(self, prepare: Callable[[], Operation | None]) -> None:
        try:
            _mlflow()
            operation = prepare()
        except Exception as error:
            self._failed(error)
            return
        if operation is not None:
            self._do(operation)

    def _do(self, operation: Operation) -> None:
        self.record.operations.append(operation)
        if self.reachable and self.run_id is not None:
            try:
                _apply(self.run_id, operation, Path())
            except Exception as error:  # any store, network or disk fault: outputs come first
                self._failed(error)

    def _failed(self, error: Exception) -> None:
        if self.reachable:
            self.reachable = False
            _could_not_log(error, self._policy)


@contextmanager
def start_run(
    settings: TrackingParams,
    *,
    stage: str,
    kind: Kind,
    name: str | None = None,
    model_sha256: str | None = None,
    run_id: str | None = None,
    origin: Mapping[str, str] | None = None,
    after: Callable[[], Any] | None = None,
) -> Iterator[Run]:
    """Record what the block does as a run; a failing block's run is marked FAILED or KILLED.

    With `model_sha256` the run of that model in this DVC experiment is continued if there is one,
    so that training and evaluation of a model are one run. With `run_id` that run is. `origin` are
    tags that say where the run comes from, by default `lineage.origin`. `after` is done with the
    store once a run has finished.

    Where it can, another process writes to the store, beside the block (`beside.helper`; `after`
    is sent there, so it must be one that can be pickled); it is waited for.
    """
    changes = lineage.patch() if origin is None and run_id is None else None
    origin = lineage.origin(changes) if origin is None else origin
    tags = {"kind": kind, "stage": stage, **origin}
    if kind == "model":
        tags["row"] = name or stage
    record = Record(settings.experiment, name or stage, tags, model_sha256, run_id)
    apart = beside.possible() and not {"mlflow", "tensorflow"} & set(sys.modules)
    writer = (_Beside if apart else Run)(record, settings.policy)
    writer.after = after
    try:
        writer.begin(changes)
        yield writer
    except BaseException as error:
        stopped = isinstance(error, KeyboardInterrupt | SystemExit)
        writer.end("KILLED" if stopped else "FAILED")
        raise
    writer.end("FINISHED")


class _Beside(Run):
    """A run that another process writes, so that MLflow's start, which takes longer than most
    stages' work, takes place beside the first of them. Calls go over in the order in which they are
    made."""

    def __init__(self, record: Record, policy: str) -> None:
        super().__init__(record, policy)
        self._helper: Any = None
        self._channel: Any = None

    def begin(self, changes: str | None) -> None:
        self._helper = beside.helper(_serve)
        self._channel = self._helper.channel
        self._send((self.record, self._policy, self.after, changes))
        if self._policy == "required":  # before any work is done in vain
            self._answer()

    def end(self, status: str) -> None:
        with suppress(OSError):
            self._channel.send(("end", (status,)))
        try:
            while self._answer() != "ended":
                pass
        finally:
            self._helper.close()

    @property
    def run_id(self) -> str | None:
        return self._asked("run_id")  # type: ignore[no-any-return]

    def ahead(self, *modules: str) -> None:
        self._call("ahead", *modules)

    def params(self, values: Mapping[str, Any]) -> None:
        self._call("params", dict(values))

    def metrics(self, values: Mapping[str, Any], step: int = 0) -> None:
        self._call("_points", [(dict(values), step, _milliseconds())])

    def tags(self, values: Mapping[str, Any]) -> None:
        self._call("tags", dict(values))

    def text(self, text: str, file: str) -> None:
        self._call("text", text, file)

    def files(self, paths: Iterable[Path | str], folder: str | None = None) -> None:
        self._call("files", list(paths), folder)

    def _described(
        self, table: "pd.DataFrame", shape: tuple[int, int], name: str, context: str, source: str
    ) -> None:
        self._call("_described", table, shape, name, context, source)

    def sklearn_model(self, path: Path | str, example: "pd.DataFrame") -> None:
        self._call("sklearn_model", path, example)

    def keras_model(self, path: Path | str) -> None:
        self._call("keras_model", path)

    def model_of(self, run_id: str) -> bool:
        return bool(self._asked("model_of", run_id))

    def current(self) -> None:
        self._call("current")

    def _call(self, name: str, *arguments: Any) -> None:
        if self._channel.poll():
            self._answer()
        self._send((name, arguments))

    def _send(self, message: Any) -> None:
        try:
            self._channel.send(message)
        except OSError:
            self._gone()

    def _asked(self, name: str, *arguments: Any) -> Any:
        self._call("ask", name, *arguments)
        return self._answer()

    def _answer(self) -> Any:
        try:
            answer = self._channel.recv()
        except (EOFError, OSError):
            return self._gone()
        if isinstance(answer, PipelineError):
            raise answer
        return answer

    def _gone(self) -> str:
        """The other process was killed: its run stays as it was, for the next one to mark."""
        message = "the process that writes to the tracking store was killed"
        if self._policy == "required":
            raise PipelineError(f"this run could not be logged: {message}")
        if self.reachable:
            self.reachable = False
            print(f"warning: this run could not be logged: {message}", file=sys.stderr)
        return "ended"


def _serve(channel: Any) -> None:
    """What the other process does for a run: make the calls that arrive, until the end."""
    with suppress(EOFError, OSError):  # the stage was killed
        record, policy, after, changes = channel.recv()
        writer = Run(record, policy)
        writer.after = after
        failed = _sent(channel, lambda: writer.begin(changes))
        if policy == "required" and not failed:
            channel.send("begun")
        for name, arguments in _calls(channel):
            if name == "ask":
                channel.send(_asked_of(writer, *arguments))
            elif name == "end" or not failed:
                failed |= _sent(channel, partial(getattr(writer, name), *arguments))
            if name == "end":
                channel.send("ended")
                return


def _calls(channel: Any) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """The calls that arrive, those of metrics that wait already as one: a transaction each would
    take longer than the epochs that they are of."""
    while True:
        name, arguments = channel.recv()
        other = None
        while name == "_points" and other is None and channel.poll():
            try:
                following = channel.recv()
            except (EOFError, OSError):  # comes again, once these are written
                break
            if following[0] == "_points":
                arguments = ([*arguments[0], *following[1][0]],)
            else:
                other = following
        yield name, arguments
        if other is not None:
            yield other


def _asked_of(writer: Run, name: str, *arguments: Any) -> Any:
    found = getattr(writer, name)
    return found(*arguments) if callable(found) else found


def _sent(channel: Any, call: Callable[[], None]) -> bool:
    """Make a call; a `PipelineError` of it is sent to the stage. Returns whether there was one."""
    try:
        call()
    except PipelineError as error:
        channel.send(error)
        return True
    return False


def _begin(record: Record) -> None:
    """Find or make the run in the store, after putting the store in order."""
    experiment_id = _experiment(record.experiment)
    _mark_killed(experiment_id)
    try:
        deliver()  # before the new run, which may continue one of them
    except Exception as error:
        reason = _reason(error)
        print(f"warning: a run that was kept could not be delivered: {reason}", file=sys.stderr)
    _open(record, experiment_id)


def _open(record: Record, experiment_id: str) -> None:
    client = _client()
    if record.run_id is None and record.model_sha256 is not None:
        record.run_id = _continued(record, experiment_id)
    if record.run_id is None:
        tags = dict(record.tags)
        if record.model_sha256 is not None:
            tags["model_sha256"] = record.model_sha256
        created = client.create_run(experiment_id, record.start, tags, record.name)
        record.run_id = str(created.info.run_id)


def _continued(record: Record, experiment_id: str) -> str | None:
    """The run of the same model to which this stage has not been written yet."""
    wanted = {name: record.tags.get(name) for name in ("row", "experiment", "repository")}
    for found in _search(experiment_id, {**wanted, "model_sha256": record.model_sha256}):
        stages = found.tags["stage"].split(", ")
        # A run that has this stage already keeps its parameters and metrics together.
        if record.tags["stage"] not in stages:
            _client().set_tag(found.run_id, "stage", ", ".join([*stages, record.tags["stage"]]))
            return found.run_id
        return None
    return None


def _apply(run_id: str, operation: Operation, root: Path) -> None:
    """Write one operation to the store; writing it twice is as good as once."""
    from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag

    client = _client()
    values = operation.get("values", {})
    match operation["do"]:
        case "params":
            known = client.get_run(run_id).data.params
            new = [Param(key, value) for key, value in values.items() if key not in known]
            for start in range(0, len(new), 100):
                client.log_batch(run_id, params=new[start : start + 100])
        case "metrics":
            points = [Metric(*point) for point in operation["points"]]
            for start in range(0, len(points), _METRICS):
                client.log_batch(run_id, metrics=points[start : start + _METRICS])
        case "tags":
            client.log_batch(run_id, tags=[RunTag(key, value) for key, value in values.items()])
        case "text":
            client.log_text(run_id, operation["text"], operation["file"])
        case "files":
            path = root / operation["path"]
            send = client.log_artifacts if path.is_dir() else client.log_artifact
            send(run_id, str(path), operation["folder"])
        case "input":
            tags = [InputTag(_CONTEXT, operation["context"])]
            client.log_inputs(run_id, [DatasetInput(Dataset(**operation["data"]), tags)])
        case "model":
            _log_model(run_id, root / operation["path"])
        case "current":
            make_current(run_id)


def _log_model(run_id: str, folder: Path) -> None:
    from mlflow.entities import LoggedModelOutput

    client = _client()
    run = client.get_run(run_id)
    if run.outputs and run.outputs.model_outputs:
        return
    model = client.create_logged_model(run.info.experiment_id, "model", source_run_id=run_id)
    client.log_model_artifacts(model.model_id, str(folder))
    client.finalize_logged_model(model.model_id, "READY")
    client.log_outputs(run_id, [LoggedModelOutput(model.model_id, 0)])


def make_current(run_id: str) -> None:
    """As `Run.current`, of a run that is in the store."""
    client = _client()
    run = client.get_run(run_id)
    wanted = {name: run.data.tags.get(name) for name in ("row", "experiment", "repository")}
    for other in _search(run.info.experiment_id, {**wanted, "current": "true"}):
        if other.run_id != run_id:
            client.set_tag(other.run_id, "current", "false")
    client.set_tag(run_id, "current", "true")


def _keep(writer: Run) -> None:
    """Put the record, with copies of its files, where `deliver` finds it."""
    try:
        writer.place.mkdir(parents=True, exist_ok=True)
        for number, operation in enumerate(writer.record.operations):
            if "path" in operation and Path(operation["path"]).exists():
                source = Path(operation["path"])
                target = writer.place / str(number) / source.name
                target.parent.mkdir()
                copy = shutil.copytree if source.is_dir() else shutil.copy2
                copy(source, target)
                operation["path"] = f"{number}/{source.name}"
        text = json.dumps(asdict(writer.record))
        (writer.place / "record.json").write_text(text, encoding="utf-8")
        writer.place.rename(_outbox() / writer.place.name.removeprefix("."))
        print("it is kept: the next run, or `make sync`, delivers it", file=sys.stderr)
    except OSError as error:
        print(f"warning: nor could it be kept for later: {error}", file=sys.stderr)


def deliver() -> int:
    """Write the runs that are kept in the outbox to the store; returns how many.

    Raises:
        Exception: the first that the store raised; the runs not delivered stay.
    """
    waiting = sorted(_outbox().glob("[0-9]*"))
    if not waiting:
        return 0
    failed: list[Exception] = []
    with FileLock(f"{_outbox()}.lock"):
        for place in filter(Path.exists, waiting):  # another process may have been faster
            try:
                _deliver(place)
            except Exception as error:
                failed.append(error)
    if failed:
        raise failed[0]
    return len(waiting)


def _deliver(place: Path) -> None:
    record = Record(**json.loads((place / "record.json").read_text(encoding="utf-8")))
    client = _client()
    experiment_id = _experiment(record.experiment)
    if record.run_id is not None:
        try:
            client.get_run(record.run_id)
        except Exception:  # another store than the one that it was begun in
            record.run_id = None
    _open(record, experiment_id)
    assert record.run_id is not None
    for operation in record.operations:
        # What was not there to be copied, was not there to be logged either.
        if not Path(operation.get("path", "")).is_absolute():
            with suppress(FileNotFoundError):
                _apply(record.run_id, operation, place)
    if client.get_run(record.run_id).info.status == "RUNNING":
        client.set_terminated(record.run_id, record.status, record.end)
    shutil.rmtree(place)


@contextmanager
def required() -> Iterator[None]:
    """What the store, the network or the disk raises in the block becomes a `PipelineError`."""
    try:
        yield
    except Exception as error:
        package = type(error).__module__.partition(".")[0]
        if not isinstance(error, OSError) and package not in _STORE_PACKAGES:
            raise
        raise _failure(error) from None


def find(settings: TrackingParams, **tags: str) -> list[Found]:
    """The runs with these tags, the newest first."""
    return list(_search(_experiment(settings.experiment), tags))


def tidy(settings: TrackingParams) -> int:
    """Mark runs whose process is gone and deliver what is kept; returns how many were delivered."""
    _mark_killed(_experiment(settings.experiment))
    return deliver()


def _search(
    experiment_id: str, tags: Mapping[str, str | None], status: str = ""
) -> Iterator[Found]:
    wanted = [f"tags.{key} = '{value}'" for key, value in tags.items() if value is not None]
    if status:
        wanted.append(f"attributes.status = '{status}'")
    token = None
    while True:
        page = _client().search_runs(
            [experiment_id], " and ".join(wanted), order_by=["start_time DESC"], page_token=token
        )
        for run in page:
            yield Found(run.info.run_id, run.info.status, dict(run.data.tags))
        token = page.token
        if not token:
            return


def _mark_killed(experiment_id: str) -> None:
    """Runs that are RUNNING though the process that wrote them is gone are KILLED."""
    own_host = lineage.process().split(" ")[0]
    for found in list(_search(experiment_id, {}, status="RUNNING")):
        host, _, identity = found.tags.get("process", "").partition(" ")
        if host == own_host and not _alive(identity):
            _client().set_terminated(found.run_id, "KILLED")
    for place in _outbox().glob(".*"):
        if not psutil.pid_exists(int(place.name.rpartition("-")[2])):
            shutil.rmtree(place, ignore_errors=True)


def _alive(identity: str) -> bool:
    pid, _, started = identity.partition(" ")
    try:
        return f"{psutil.Process(int(pid)).create_time():.0f}" == started
    except psutil.Error:
        return False


def _could_not_log(error: Exception, policy: str) -> None:
    failure = _failure(error)
    if policy == "required":
        raise PipelineError(f"{failure} (tracking.policy is `required`)") from None
    print(f"warning: {failure}; the stage's own outputs are not affected", file=sys.stderr)


def _failure(error: Exception) -> PipelineError:
    place = _without_password(_uri())
    return PipelineError(f"the run could not be logged to {place}: {_reason(error)}")


def _reason(error: Exception) -> str:
    return _without_password(" ".join(str(error).split()))[:300] or type(error).__name__


def _uri() -> str:
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{repository()}/mlflow.db"


def _without_password(text: str) -> str:
    """`text` with user and password taken out of every address in it."""
    return re.sub(r"://\S*@", "://", text)


def _outbox() -> Path:
    return repository() / "cache" / "outbox"


def _milliseconds() -> int:
    return time.time_ns() // 1_000_000


def _mlflow() -> Any:
    """MLflow, quiet and pointed at the store."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "false")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    # A server that is down is told soon; what is meant for it is kept.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    # The address that it would print at the end of a run may hold a password.
    os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
    os.environ.pop("MLFLOW_RUN_ID", None)  # it would beat the run that is meant
    import mlflow

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="mlflow")
    mlflow.set_tracking_uri(_uri())
    return mlflow


def _client() -> Any:
    return _mlflow().MlflowClient()


def _experiment(name: str) -> str:
    """The id of the MLflow experiment, made if need be.

    Under a lock: processes that open a fresh SQLite store together crash. With its artifact folder
    named: otherwise one made from a temporary copy would keep its artifacts in there.
    """
    with FileLock(repository() / "cache" / "mlflow.lock") as _:
        client = _client()
        found = client.get_experiment_by_name(name)
        if found is not None:
            if found.lifecycle_stage == "deleted":
                client.restore_experiment(found.experiment_id)
            return str(found.experiment_id)
        local = _uri().startswith("sqlite:")
        location = (repository() / "mlartifacts").as_uri() if local else None
        return str(client.create_experiment(name, artifact_location=location))


def _requirements(*names: str) -> list[str]:
    return [f"{name}=={version(name)}" for name in names]


def _environment_files(folder: Path, *names: str) -> dict[str, str]:
    """Write the files by which MLflow sets up the environment of a model that needs some packages,
    as it would itself after looking through all that are installed; returns how they are called."""
    requirements = _requirements(*names)
    (folder / "requirements.txt").write_text("\n".join(requirements), encoding="utf-8")
    python = platform.python_version()
    pip = {"pip": requirements}
    files = {
        "conda_env": {
            "name": "mlflow-env",
            "channels": ["conda-forge"],
            "dependencies": [f"python={python}", "pip", pip],
        },
        "python_env": {"python": python, "dependencies": ["-r requirements.txt"]},
    }
    named = {"conda_env": "conda.yaml", "python_env": "python_env.yaml"}
    for key, content in files.items():
        (folder / named[key]).write_text(yaml.safe_dump(content), encoding="utf-8")
    return named


def flattened(values: Mapping[str, Any], separator: str = ".", prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, keys joined with `separator`."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= flattened(value, separator, f"{prefix}{key}{separator}")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text[:_PARAM_LENGTH]
