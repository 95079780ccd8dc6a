"""Clones of the repository for runs of their own, and parameters set by their dotted keys."""

import json
import os
from pathlib import Path
from typing import Any

from deepfake import params
from deepfake.common.errors import PipelineError
from deepfake.common.files import read_yaml
from deepfake.common.yaml12 import parse_yaml
from deepfake.sources.remote import is_address
from tools.shell import git


def clone(path: Path, changes: list[str]) -> Path:
    """Clone the repository's last commit to `path`, without `dvc.lock` and with other parameters.

    The clone has its own DVC cache and MLflow store.

    Args:
        changes: parameters to change, as `key=value`.

    Returns:
        `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    git("clone", "--quiet", "--no-hardlinks", str(Path.cwd()), str(path))
    (path / "dvc.lock").unlink(missing_ok=True)  # no stage counts as done
    change(path / "params.yaml", changes)
    params.load(path / "params.yaml")
    return path


def environment() -> dict[str, str]:
    """The environment for commands in a clone: this one, without what names this repository."""
    left_out = ("MLFLOW_TRACKING_URI", "DVC_ROOT", "DVC_EXP_NAME", "DVC_EXP_BASELINE_REV")
    inherited = {key: value for key, value in os.environ.items() if key not in left_out}
    if home := inherited.get("KERAS_HOME"):
        inherited["KERAS_HOME"] = str(Path(home).resolve())
    return inherited


def change(path: Path, changes: list[str]) -> None:
    """Set `key=value` pairs, as for `dvc exp run -S`, in a file of parameters.

    Raises:
        PipelineError: an item is not `key=value`, or the file has no such key.
    """
    values = read_yaml(path)
    for item in changes:
        key, equals, text = item.partition("=")
        try:
            value = parse_yaml(text)
        except ValueError as error:
            raise PipelineError(f"-S {item}: {error}") from None
        if key in ("data.folder.path", "evaluate.external"):
            value = _from_here(value)
        if not equals or not assign(values, key, value):
            raise PipelineError(f"-S {item}: expected KEY=VALUE with a key of params.yaml")
    if changes:
        # Every JSON document is YAML 1.2 of the same values.
        path.write_text(json.dumps(values, indent=2, ensure_ascii=False), encoding="utf-8")


def _from_here(value: Any) -> Any:
    """A path, or each of a list of paths or of sections with a `path`, as an absolute path;
    an address of a bucket stays."""
    if isinstance(value, list):
        return [_from_here(one) for one in value]
    if isinstance(value, dict):
        return {**value, "path": _from_here(value["path"])} if "path" in value else value
    return value if is_address(value) else str(Path(value).resolve())


def assign(values: dict[str, Any], key: str, value: Any) -> bool:
    """Set a dotted key in nested dicts; return False, and set nothing, if there is no such key."""
    *sections, last = key.split(".")
    section: Any = values
    for part in sections:
        section = section.get(part) if isinstance(section, dict) else None
    if not isinstance(section, dict) or last not in section:
        return False
    section[last] = value
    return True
