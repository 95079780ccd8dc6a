"""The record of runs in MLflow; the one module that imports it.

The store is `mlflow.db` and `mlartifacts/` in the user's repository unless `MLFLOW_TRACKING_URI`
says otherwise, also where DVC runs a stage in a temporary copy. Recording never decides a result:
where it fails, the stage says so and goes on (`tracking.policy: best_effort`) or stops
(`required`).
"""

import json
import logging
import os
import re
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from filelock import FileLock

from deepfake.errors import PipelineError
from deepfake.params import TrackingParams
from deepfake.runtime import quiet, repository

Kind = Literal["data", "model"]
_PARAM_LENGTH = 500


class Run:
    """One MLflow run being written. After the first failure nothing more is sent."""

    def __init__(self, run_id: str | None, policy: str) -> None:
        self.run_id = run_id
        self.complete = True
        self._policy = policy

    def params(self, values: Mapping[str, Any]) -> None:
        """Log nested parameters under dotted names; ones that the run has already stay."""

        def log(mlflow: Any) -> None:
            known = mlflow.get_run(self.run_id).data.params
            flat = {key: _text(value) for key, value in flattened(values).items()}
            mlflow.log_params({key: value for key, value in flat.items() if key not in known})

        self._try(log)

    def metrics(self, values: Mapping[str, Any], step: int | None = None) -> None:
        """Log the numbers among nested values under names joined with an underscore."""
        numbers = {
            re.sub(r"[^\w\-. :/]", "_", key): float(value)
            for key, value in flattened(values, separator="_").items()
            if isinstance(value, int | float) and not isinstance(value, bool)
        }
        self._try(lambda mlflow: mlflow.log_metrics(numbers, step=step))

    def tags(self, values: Mapping[str, Any]) -> None:
        self._try(lambda mlflow: mlflow.set_tags({k: str(v) for k, v in values.items()}))

    def files(self, paths: Iterable[Path | str], folder: str | None = None) -> None:
        """Log files, or the files of folders, as artifacts."""

        def log(mlflow: Any) -> None:
            for path in paths:
                send = mlflow.log_artifacts if Path(path).is_dir() else mlflow.log_artifact
                send(str(path), folder)

        self._try(log)

    def data(self, table: pd.DataFrame, name: str, context: str, source: str) -> None:
        """Log a table as an input: its schema, size and digest, not its rows."""

        def log(mlflow: Any) -> None:
            from mlflow.data.code_dataset_source import CodeDatasetSource

            # Integer columns could not hold missing values, which MLflow warns of every time.
            wide = table.astype(dict.fromkeys(table.select_dtypes("integer").columns, "float64"))
            origin = CodeDatasetSource({"mlflow.source.name": source})
            # Every one of the tables has its label beside the features.
            logged = mlflow.data.from_pandas(wide, source=origin, name=name, targets="label")
            mlflow.log_input(logged, context=context)

        self._try(log)

    def sklearn_model(self, model: Any, example: pd.DataFrame) -> None:
        def log(mlflow: Any) -> None:
            signature = mlflow.models.infer_signature(example, model.predict_proba(example))
            mlflow.sklearn.log_model(
                model,
                name="model",
                signature=signature,
                input_example=example,
                pyfunc_predict_fn="predict_proba",
                serialization_format="cloudpickle",
                pip_requirements=_requirements("scikit-learn", "pandas", "numpy", "cloudpickle"),
            )

        self._try(log)

    def keras_model(self, model: Any, example: Any) -> None:
        """Log a model from uint8 pixels (n, height, width, 3) to P(fake) (n, 1)."""

        def log(mlflow: Any) -> None:
            import numpy as np
            from mlflow.types import Schema, TensorSpec

            signature = mlflow.models.ModelSignature(
                Schema([TensorSpec(np.dtype("uint8"), (-1, -1, -1, 3), "pixels")]),
                Schema([TensorSpec(np.dtype("float32"), (-1, 1), "score")]),
            )
            with quiet(), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                mlflow.tensorflow.log_model(
                    model,
                    name="model",
                    signature=signature,
                    input_example=example,
                    pip_requirements=_requirements("tensorflow", "keras", "numpy"),
                )

        self._try(log)

    def _try(self, log: Callable[[Any], None]) -> None:
        if self.run_id is None:
            return
        try:
            log(_mlflow())
        except Exception as error:  # any store, network or disk fault: outputs come first
            self.run_id, self.complete = None, False
            _could_not_log(error, self._policy)


@contextmanager
def run(
    settings: TrackingParams,
    *,
    stage: str,
    kind: Kind,
    name: str | None = None,
    model_sha256: str | None = None,
) -> Iterator[Run]:
    """Record what the block does as a run; a failing block's run is marked FAILED or KILLED.

    With `model_sha256` the run of that model in this experiment is continued if there is one, so
    that training and evaluation of a model are one run.
    """
    record = Run(None, settings.policy)
    try:
        record.run_id = _begin(settings, stage, kind, name or stage, model_sha256)
    except Exception as error:
        _could_not_log(error, settings.policy)
    try:
        yield record
    except BaseException as error:
        stopped = isinstance(error, KeyboardInterrupt | SystemExit)
        _end(record, "KILLED" if stopped else "FAILED")
        raise
    _end(record, "FINISHED" if record.complete else "FAILED")


def _begin(
    settings: TrackingParams, stage: str, kind: Kind, name: str, model_sha256: str | None
) -> str:
    mlflow = _mlflow()
    experiment = _experiment(settings.experiment)
    tags = {"kind": kind, "stage": stage, **_origin()}
    if model_sha256 is not None:
        tags["model_sha256"] = model_sha256
        found = mlflow.search_runs(
            [experiment],
            filter_string=(
                f"tags.model_sha256 = '{model_sha256}' and tags.experiment = '{tags['experiment']}'"
            ),
            max_results=1,
            output_format="list",
        )
        # A run that has this stage already keeps its parameters and metrics together.
        if found and stage not in found[0].data.tags["stage"].split(", "):
            run_id = str(found[0].info.run_id)
            mlflow.start_run(run_id=run_id)
            mlflow.set_tag("stage", f"{found[0].data.tags['stage']}, {stage}")
            return run_id
    active = mlflow.start_run(experiment_id=experiment, run_name=name, tags=tags)
    return str(active.info.run_id)


def _end(record: Run, status: str) -> None:
    mlflow = sys.modules.get("mlflow")
    if mlflow is None or mlflow.active_run() is None:
        return
    try:
        mlflow.end_run(status)
    except Exception as error:
        _could_not_log(error, "best_effort")


def _could_not_log(error: Exception, policy: str) -> None:
    reason = _without_password(" ".join(str(error).split()))[:300] or type(error).__name__
    message = f"the run could not be logged to {_without_password(_uri())}: {reason}"
    if policy == "required":
        raise PipelineError(f"{message} (tracking.policy is `required`)") from None
    print(f"warning: {message}; the stage's own outputs are not affected", file=sys.stderr)


def _uri() -> str:
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{repository()}/mlflow.db"


def _without_password(text: str) -> str:
    """`text` with user and password taken out of every address in it."""
    return re.sub(r"://\S*@", "://", text)


def _mlflow() -> Any:
    """MLflow, quiet and pointed at the store."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "false")
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    # The address that it would print at the end of a run may hold a password.
    os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
    os.environ.pop("MLFLOW_RUN_ID", None)  # it would beat the run that is begun here
    import mlflow

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="mlflow")
    mlflow.set_tracking_uri(_uri())
    return mlflow


def _experiment(name: str) -> str:
    """The id of the MLflow experiment, made if need be.

    Under a lock: processes that open a fresh SQLite store together crash. With its artifact folder
    named: otherwise one made from a temporary copy would keep its artifacts in there.
    """
    mlflow = _mlflow()
    with FileLock(repository() / "cache" / "mlflow.lock") as _:
        found = mlflow.get_experiment_by_name(name)
        if found is not None:
            return str(found.experiment_id)
        local = _uri().startswith("sqlite:")
        location = (repository() / "mlartifacts").as_uri() if local else None
        return str(mlflow.create_experiment(name, artifact_location=location))


def _origin() -> dict[str, str]:
    """Where a run comes from: DVC experiment, git revision, whether the tree was dirty."""
    revision = _git("rev-parse", "HEAD")
    return {
        "experiment": os.environ.get("DVC_EXP_NAME") or "workspace",
        "git_revision": os.environ.get("DVC_EXP_BASELINE_REV") or revision or "none",
        "git_dirty": "true" if _git("status", "--porcelain", "-uno") else "false",
    }


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    return done.stdout.strip()


def _requirements(*names: str) -> list[str]:
    from importlib.metadata import version

    return [f"{name}=={version(name)}" for name in names]


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
