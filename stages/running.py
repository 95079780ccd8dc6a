"""How every stage starts, and under which key a stage keeps unfinished work."""

import functools
import hashlib
import json
import os
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import yaml

from deepfake.common.environment import require_versions
from deepfake.common.errors import command
from deepfake.common.files import sha256_file


def stage(main: Callable[[], None]) -> Callable[[], None]:
    """Decorate the `main` of a stage.

    It refuses installed packages that differ from versions.yaml, and turns an error that the user
    can mend into one message and exit status 1.
    """

    @functools.wraps(main)
    def checked() -> None:
        require_versions(_read("versions.yaml"))
        main()

    return command(checked)


def resume_key(name: str, *, without: Collection[str] = ()) -> str:
    """The digest of everything that dvc.yaml says stage `name` depends on.

    Unfinished work of a killed run is continued only under the same key: same code, inputs,
    parameters and versions of packages.

    Args:
        name: of the stage.
        without: dependencies that the work in question does not read.
    """
    described = _read("dvc.yaml")["stages"][name]
    known = _known_checksums()
    facts: dict[str, Any] = {
        path: known.get(path) or _checksum(Path(path))
        for path in described["deps"]
        if path not in without
    }
    for item in described.get("params", []):
        for file, keys in item.items() if isinstance(item, dict) else [("params.yaml", [item])]:
            values = _read(file)
            facts |= {f"{file}:{key}": values[key] for key in keys}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:20]


def _known_checksums() -> dict[str, str]:
    """The checksums that DVC recorded of other stages' outputs; none where DVC does not run."""
    if "DVC_STAGE" not in os.environ or not Path("dvc.lock").exists():
        return {}
    stages = _read("dvc.lock").get("stages", {})
    return {out["path"]: out["md5"] for one in stages.values() for out in one.get("outs", [])}


def _checksum(path: Path) -> str:
    """SHA-256 of a file, or of the names and contents of the files of a folder."""
    if path.is_file():
        return sha256_file(path)
    digest = hashlib.sha256()
    for file in sorted(item for item in path.rglob("*") if item.is_file()):
        if file.suffix != ".pyc":
            digest.update(f"{file.relative_to(path)}\0{sha256_file(file)}\0".encode())
    return digest.hexdigest()


def _read(path: str) -> Any:
    # The loader in C where PyYAML has it: dvc.lock is long.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return yaml.load(Path(path).read_text(encoding="utf-8"), loader)
