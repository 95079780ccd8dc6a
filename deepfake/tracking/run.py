"""Recording what a stage does as an MLflow run: `start_run`.

Recording never changes a result. What cannot be logged is kept in the outbox and delivered by the
next run or `make sync` (`tracking.policy: best_effort`), or stops the stage (`required`).
"""

import hashlib
import json
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepfake.common.errors import PipelineError
from deepfake.params import TrackingParams
from deepfake.tracking import failures, lineage, model_files, outbox, record, store
from deepfake.tracking.connection import client, load_mlflow
from deepfake.tracking.record import Kind, Operation, Record
from deepfake.tracking.waiting import allow

if TYPE_CHECKING:
    import pandas as pd

DIGESTED = 10_000  # rows of a table that its digest is made of, as MLflow's own is


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
) -> Iterator["Run"]:
    """Record what the block does as a run; if the block fails, its run is FAILED or KILLED.

    Args:
        kind: `model` for the rows of the two models, `data` for the other stages, whose runs are
            in an MLflow experiment of their own.
        name: what the run's name in MLflow, `<name> · <DVC experiment>`, begins with; by default
            the stage's name.
        model_sha256: continue the run of this model in this DVC experiment, if there is one, so
            that training and evaluation of a model are one run.
        run_id: continue this run.
        origin: tags that say where the run comes from; by default `lineage.origin`.
        after: called once the run has finished, under the same policy: it may write to the store.

    Raises:
        PipelineError: something could not be logged, and the policy is `required`.
    """
    allow(settings.deadline_seconds)
    changes = lineage.find_changes() if origin is None else None
    tags = {"kind": kind, "stage": stage, **(lineage.origin(changes) if origin is None else origin)}
    if kind == "model":
        tags["row"] = name or stage
    called = f"{name or stage} · {tags['experiment']}"
    wanted = Record(settings.experiment, called, tags, model_sha256, run_id)
    run = Run(wanted, settings.policy)
    try:
        run.begin(changes if run_id is None else None)
        yield run
    except BaseException as error:
        stopped = isinstance(error, KeyboardInterrupt | SystemExit)
        run.end("KILLED" if stopped else "FAILED")
        raise
    run.end("FINISHED")
    if after is not None:
        run.attempt(after)


class Run:
    """One MLflow run being written. After a failure the rest is only remembered, to be sent
    later."""

    def __init__(self, wanted: Record, policy: str) -> None:
        self.record = wanted
        self._reachable = True
        self._continued = wanted.run_id is not None  # a finished run is added to
        self._place = outbox.new_place()
        self._policy = policy

    @property
    def run_id(self) -> str | None:
        """The run's id in the store; None if the store could not be reached."""
        return self.record.run_id

    def begin(self, changes: lineage.Changes | None) -> None:
        """Find or create the run in the store, and log the environment.

        Args:
            changes: changes to the code, to log too; None for a run that this process adds to.
        """
        try:
            _open(self.record)
        except Exception as error:
            self._failed(error)
        if changes is not None:
            environment = {**lineage.environment(), "untracked_files": changes.untracked}
            if changes.problem:
                environment["git"] = changes.problem
            self.text(json.dumps(environment, indent=2) + "\n", "lineage/environment.json")
            if changes.patch:
                self.text(changes.patch, "lineage/changes.patch")

    def end(self, status: str) -> None:
        """Say how the run ended: FINISHED, FAILED or KILLED. Keep it if it could not be logged."""
        self.record.status, self.record.end = status, record.milliseconds()
        try:
            if self._reachable and self.run_id is not None and not self._continued:
                try:
                    self._terminate()
                except Exception as error:
                    self._failed(error)
            if not self._reachable and self._policy == "best_effort":
                outbox.keep(self.record, self._place)
            elif not self._reachable and self.run_id is not None:
                self.record.status = "FAILED"
                with suppress(Exception):  # the stage is failing because of it already
                    self._terminate()
        finally:
            shutil.rmtree(self._place, ignore_errors=True)

    def _terminate(self) -> None:
        client().set_terminated(self.run_id, self.record.status, self.record.end)

    def params(self, values: Mapping[str, Any]) -> None:
        """Log nested parameters under dotted names; parameters that the run has already stay."""
        self._do(record.params(values))

    def metrics(self, values: Mapping[str, Any], step: int = 0) -> None:
        """Log the numbers among nested values under names joined with an underscore."""
        self._do(record.metrics(values, step))

    def scores(self, values: Mapping[str, Mapping[str, float]]) -> None:
        """Log the metrics of the model on each split, after the model and its data."""
        for split, metrics in values.items():
            self._do(record.metrics({split: metrics}, 0, split))

    def tags(self, values: Mapping[str, Any]) -> None:
        """Set tags, in place of earlier ones of the same name."""
        self._do({"do": "tags", "values": {key: str(value) for key, value in values.items()}})

    def text(self, text: str, file: str) -> None:
        """Log `text` as the artifact `file`."""
        self._do({"do": "text", "text": text, "file": file})

    def files(self, paths: Iterable[Path | str], folder: str | None = None) -> None:
        """Log files, or the files of folders, as artifacts in `folder`; None: at the top."""
        for path in paths:
            self._do({"do": "files", "path": str(path), "folder": folder})

    def data(
        self, table: "pd.DataFrame", name: str, context: str, source: str, rows: int | None = None
    ) -> None:
        """Log a table as an input: its schema, size and digest, not its rows.

        Args:
            table: with a column `label`; the first `DIGESTED` rows are enough.
            context: what the table is used for, such as `train`.
            source: where its images come from.
            rows: how many rows the whole table has; by default those of `table`.
        """

        def describe() -> Operation:
            entity = _described(table, name, source, rows or len(table))
            return {"do": "input", "data": entity, "context": context}

        self._prepared(describe)

    def sklearn_model(self, path: Path | str, example: "pd.DataFrame") -> None:
        """Log a model that joblib saved, of tables like `example`."""
        folder = self._place / "model"
        self._model(folder, lambda: model_files.write_sklearn(path, example, folder))

    def model_to_come(self) -> None:
        """Name the model that metrics are of; its files are logged later, by `detector`."""
        self._do({"do": "model"})

    def detector(self, exported: Path, keras: Path) -> bool:
        """Log an exported detector, and the `.keras` file that it was made of; returns whether its
        files could be written."""
        folder = self._place / "model"
        return self._model(folder, lambda: model_files.write_detector(exported, keras, folder))

    def model_of(self, run_id: str) -> bool:
        """Log a copy of the model that another run has; returns whether it has one."""
        folder = self._place / "copied_model"
        return self._model(folder, lambda: model_files.download(run_id, folder))

    def current(self) -> None:
        """Make this the row of its name for its DVC experiment; an earlier one ceases to be."""
        self._do({"do": "current"})

    def attempt(self, write: Callable[[], Any]) -> None:
        """Do something else with the store; a failure is treated as the policy says."""
        try:
            write()
        except PipelineError:
            raise
        except Exception as error:
            failures.could_not_log(error, self._policy)

    def _model(self, folder: Path, write: Callable[[], bool | None]) -> bool:
        """Log the model that `write` puts into `folder`, unless it returns False."""
        written = False

        def prepare() -> Operation | None:
            nonlocal written
            written = write() is not False
            return {"do": "model", "path": str(folder)} if written else None

        self._prepared(prepare)
        return written

    def _prepared(self, prepare: Callable[[], Operation | None]) -> None:
        try:
            operation = prepare()
        except Exception as error:
            self._failed(error)
            return
        if operation is not None:
            self._do(operation)

    def _do(self, operation: Operation) -> None:
        self.record.operations.append(operation)
        if self._reachable and self.run_id is not None:
            try:
                store.apply(self.run_id, operation, Path())
            except Exception as error:  # any store, network or disk fault: outputs come first
                self._failed(error)

    def _failed(self, error: Exception) -> None:
        if self._reachable:
            self._reachable = False
            failures.could_not_log(error, self._policy)


def _open(wanted: Record) -> None:
    """Find or create the run in the store, after putting the store in order."""
    store.mark_killed(wanted.experiment)
    try:
        outbox.deliver()  # before the new run, which may continue one of them
    except Exception as error:
        reason = failures.reason(error)
        print(f"warning: a run that was kept could not be delivered: {reason}", file=sys.stderr)
    store.open_run(wanted)


def _described(table: "pd.DataFrame", name: str, source: str, rows: int) -> dict[str, Any]:
    """The fields of MLflow's `Dataset` for the first rows of a table of `rows` rows."""
    mlflow = load_mlflow()
    from mlflow.data.code_dataset_source import CodeDatasetSource

    first = table.head(DIGESTED)
    # Integer columns could not hold missing values, which MLflow warns of every time.
    wide = first.astype(dict.fromkeys(first.select_dtypes("integer").columns, "float64"))
    origin = CodeDatasetSource({"mlflow.source.name": source})
    dataset = mlflow.data.from_pandas(wide, source=origin, name=name, targets="label")
    fields = dict(dataset._to_mlflow_entity())
    elements = rows * table.shape[1]
    fields["profile"] = json.dumps({"num_rows": rows, "num_elements": elements})
    fields["digest"] = hashlib.sha256(f"{fields['digest']} {rows}".encode()).hexdigest()[:8]
    return fields
