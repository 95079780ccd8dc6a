"""How every stage starts and is refused, and under which key a stage keeps unfinished work."""

import functools
import hashlib
import inspect
import json
import os
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from deepfake.common.environment import repository, require_versions
from deepfake.common.errors import PipelineError, command, fixable
from deepfake.common.files import read_yaml, sha256_file
from stages import inputs

PARAMETERS = "git checkout params.yaml"
EVERYTHING = "git checkout params.yaml dvc.lock metrics plots report.md && dvc checkout"


def stage(main: Callable[[], None]) -> Callable[[], None]:
    """Decorate the `main` of a stage.

    It refuses installed packages that differ from versions.yaml, and inputs that differ from
    dvc.lock where DVC does not run it. An error that the user can mend becomes one message and exit
    status 1. The message ends with the way back.
    """

    @functools.wraps(main)
    def checked() -> None:
        try:
            require_versions(read_yaml("versions.yaml"))
            inputs.check(Path(inspect.getfile(main)).stem)
            main()
        except Exception as error:
            known = fixable(error)
            if known is None:
                raise
            raise PipelineError(f"{known}{_way_back()}") from None

    return command(checked)


def _way_back() -> str:
    """How to get the last commit's parameters and outputs back, where DVC runs a stage."""
    if "DVC_STAGE" not in os.environ:
        return ""
    if Path.cwd() != repository():  # a temporary copy, with --temp or --queue
        return "\nYour workspace is as it was."
    if all(Path(path).exists() for path in _known_checksums()):
        return (
            "\nNo output was removed. Back to the parameters of the last commit:\n  " + PARAMETERS
        )
    return "\nBack to the parameters and outputs of the last commit:\n  " + EVERYTHING


def resume_key(name: str, *, without: Collection[str] = ()) -> str:
    """The digest of everything that dvc.yaml says stage `name` depends on.

    Unfinished work of a killed run is continued only under the same key: same code, inputs,
    parameters and versions of packages.

    Args:
        name: of the stage.
        without: dependencies that the work in question does not read.
    """
    described = read_yaml("dvc.yaml")["stages"][name]
    known = _known_checksums()
    facts: dict[str, Any] = {
        path: known.get(path) or _checksum(Path(path))
        for path in described["deps"]
        if path not in without
    }
    named: dict[str, list[str]] = {"params.yaml": []}
    for item in described.get("params", []):
        if isinstance(item, dict):
            named |= item
        else:
            named["params.yaml"].append(item)
    for file, keys in named.items():
        values = read_yaml(file)
        facts |= {f"{file}:{key}": _value(values, key) for key in keys}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:20]


def _value(values: Any, key: str) -> Any:
    """The value of a dotted key."""
    for name in key.split("."):
        values = values[name]
    return values


def _known_checksums() -> dict[str, str]:
    """The checksums that DVC recorded of other stages' outputs; none where DVC does not run."""
    if "DVC_STAGE" not in os.environ:
        return {}
    stages = inputs.locked().values()
    return {out["path"]: out["md5"] for one in stages for out in one.get("outs", [])}


def _checksum(path: Path) -> str:
    """SHA-256 of a file, or of the names and contents of the files of a folder."""
    if path.is_file():
        return sha256_file(path)
    digest = hashlib.sha256()
    for file in sorted(item for item in path.rglob("*") if item.is_file()):
        if file.suffix != ".pyc":
            digest.update(f"{file.relative_to(path)}\0{sha256_file(file)}\0".encode())
    return digest.hexdigest()
