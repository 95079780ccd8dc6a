"""Detectors from MLflow: those of its registry, `models:/NAME@champion`, and those of runs.

MLflow is imported here when it is needed; else an exported folder needs none of it.
"""

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepfake.common.address import database, shown, uri, without_secrets
from deepfake.common.errors import PipelineError
from deepfake.common.files import move
from deepfake.common.filters import named
from deepfake.common.threads import in_time
from deepfake.serving import description

_SECONDS, _SECONDS_TO_DOWNLOAD = 30, 600
_MOST_MODELS = 1_000  # that are listed
_SOURCE = re.compile(
    r"models:/(?P<name>[^/@]+)(@(?P<alias>[\w.-]+)|/(?P<version>\d+))"
    r"|models:/(?P<model>m-[0-9a-f]{32})"
    r"|runs:/(?P<run>[0-9a-f]{32})(/image)?"
)
_FOLDER = "detector"  # in the logged model


@dataclass(frozen=True)
class Registered:
    """A version of a registered model.

    Attributes:
        name, version: as MLflow has them.
        aliases: such as `champion`.
        tags: such as `test_roc_auc`.
        source: by which `Detector.load` finds it.
    """

    name: str
    version: str
    aliases: tuple[str, ...]
    tags: dict[str, str]
    source: str


def fetch(source: str) -> Path:
    """Return the folder of a detector that MLflow has; it is downloaded once.

    Args:
        source: `models:/NAME@ALIAS`, `models:/NAME/VERSION`, `models:/MODEL_ID` or `runs:/RUN_ID`.

    Raises:
        PipelineError: there is no such detector, MLflow does not answer in time, or what it sent is
            damaged.
    """
    named = _SOURCE.fullmatch(source)
    if named is None:
        raise PipelineError(
            f"{source[:200]!r} names no model in MLflow: write models:/NAME@champion, "
            "models:/NAME/3 or runs:/ID"
        )
    with _failing(source):
        client = in_time(_client, _SECONDS)
        model_id = in_time(lambda: _model_id(client, **named.groupdict()), _SECONDS)
        folder = _cache() / model_id
        if not _complete(folder):
            _download(client, model_id, folder)
    return folder


def _complete(folder: Path) -> bool:
    """Whether a detector was downloaded; a damaged one is deleted."""
    if not folder.is_dir():
        return False
    try:
        description.read(folder)
    except PipelineError:
        shutil.rmtree(folder, ignore_errors=True)
        return False
    return True


def registered(name: str | None = None) -> list[Registered]:
    """List the versions in the registry, the newest of each model first.

    Args:
        name: of a registered model; None: all of them.

    Raises:
        PipelineError: MLflow does not answer in time.
    """
    with _failing("the list of models"):
        client = in_time(_client, _SECONDS)
        return in_time(lambda: list(_versions(client, name)), _SECONDS)


def _versions(client: Any, name: str | None) -> Iterator[Registered]:
    for one in _names(client) if name is None else [name]:
        aliases = client.get_registered_model(one).aliases  # by name: the number of a version
        found = client.search_model_versions(named(one))
        for version in sorted(found, key=lambda version: -int(version.version)):
            number = str(version.version)
            of = tuple(alias for alias, target in aliases.items() if str(target) == number)
            yield Registered(one, number, of, dict(version.tags), f"models:/{one}/{number}")


def _names(client: Any) -> list[str]:
    """The registered models, which MLflow answers page by page."""
    names: list[str] = []
    page = None
    while page is None or (page.token and len(names) < _MOST_MODELS):
        page = client.search_registered_models(page_token=page and page.token)
        names += [model.name for model in page]
    return names[:_MOST_MODELS]


def _client() -> Any:
    """MLflow's client of the store, quiet, and soon tired of a server that is down."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    path = database(uri())
    if path is not None and not path.is_file():  # MLflow would make an empty one
        raise PipelineError(
            f"there is no MLflow store at {path}: set MLFLOW_TRACKING_URI to the address of yours, "
            "or go to the folder of the project"
        )
    import mlflow

    from deepfake.serving import answers

    answers.bound()
    mlflow.set_tracking_uri(uri())
    return mlflow.MlflowClient()


def _model_id(
    client: Any,
    name: str | None,
    alias: str | None,
    version: str | None,
    model: str | None,
    run: str | None,
) -> str:
    """The id of the logged model that a source names."""
    if model:
        return model
    if run:
        outputs = client.get_run(run).outputs
        found = outputs.model_outputs[0].model_id if outputs and outputs.model_outputs else ""
    else:
        by_alias = client.get_model_version_by_alias
        one = by_alias(name, alias) if alias else client.get_model_version(name, version)
        found = one.model_id or str(one.source).removeprefix("models:/")
    if not re.fullmatch(r"m-[0-9a-f]{32}", found):  # it becomes the name of a folder
        raise PipelineError("it has no logged model: `make sync` may bring it there")
    return found


def _download(client: Any, model_id: str, folder: Path) -> None:
    """Put the detector of a logged model into `folder`, after a check of every file."""
    from mlflow.artifacts import download_artifacts

    from deepfake.serving import answers

    place = in_time(lambda: client.get_logged_model(model_id).artifact_location, _SECONDS)
    answers.check_place(place)
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=folder.parent))
    try:
        in_time(
            lambda: download_artifacts(f"{place}/{_FOLDER}", dst_path=str(partial)),
            _SECONDS_TO_DOWNLOAD,
        )
        found = partial / _FOLDER
        description.read(found)
        try:
            move(found, folder)
        except OSError:
            if not folder.is_dir():  # else another process was faster
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _cache() -> Path:
    """Where detectors are kept: their ids are unique, and what has one never changes."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "deepfake"


@contextmanager
def _failing(what: str) -> Iterator[None]:
    """In the block, whatever MLflow, the network or the disk raises is a `PipelineError`."""
    try:
        yield
    except PipelineError as error:
        raise PipelineError(f"cannot get {what}: {error}") from None
    except ImportError as error:
        raise PipelineError(
            f"{what}: MLflow's models need {error.name}: pip install '.[pipeline]'"
        ) from None
    except Exception as error:
        reason = without_secrets(" ".join(str(error).split()))[:300] or type(error).__name__
        raise PipelineError(f"cannot get {what} from MLflow at {shown(uri())}: {reason}") from None
