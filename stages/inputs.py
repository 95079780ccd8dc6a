"""The inputs of a stage against what dvc.lock says of them, where the stage is run by hand.

DVC does the same before it runs a stage. `python -m stages.NAME` alone would read what is there.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from deepfake.common import paths
from deepfake.common.errors import PipelineError
from deepfake.common.files import read_yaml

# Larger inputs are compared by their size alone: a checksum of them takes more than two seconds.
MOST_BYTES = 1_000_000_000


def check(stage: str) -> None:
    """Compare the inputs of a stage with what dvc.lock has of the stages that wrote them.

    An input that dvc.lock does not know is taken as it is.

    Raises:
        PipelineError: an input is missing or another one; it names the command that mends it.
    """
    if "DVC_STAGE" in os.environ or not Path("dvc.yaml").exists():
        return
    written = {out["path"]: out for one in locked().values() for out in one.get("outs", [])}
    written.pop(str(paths.CHECKED), None)  # it only makes `check` run first; nobody reads it
    for path in read_yaml("dvc.yaml")["stages"].get(stage, {}).get("deps", []):
        if path in written and (reason := _differs(Path(path), written[path])):
            raise PipelineError(
                f"{path} is not what dvc.lock says ({reason}). `dvc checkout -f {path}` brings "
                f"back what it says, `dvc repro {stage}` makes what is out of date; if it is as "
                "you want it, `dvc commit -f` takes it into dvc.lock"
            )


def locked() -> dict[str, Any]:
    """The stages in dvc.lock; none where there is no such file."""
    found = read_yaml("dvc.lock") if Path("dvc.lock").exists() else None
    stages = found.get("stages") if isinstance(found, dict) else None
    return stages if isinstance(stages, dict) else {}


def _differs(path: Path, out: dict[str, Any]) -> str:
    """How an output differs from its entry in dvc.lock; nothing if it does not."""
    if not path.exists():
        return "it is missing"
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    if len(files) != out.get("nfiles", 1):
        return f"{len(files)} files instead of {out.get('nfiles', 1)}"
    size = sum(file.stat().st_size for file in files)
    if size != out.get("size", size):
        return f"{size:,} bytes instead of {out['size']:,}"
    if size <= MOST_BYTES and _md5(path, files) != out.get("md5"):
        return "other content of the same size"
    return ""


def _md5(path: Path, files: list[Path]) -> str:
    """The checksum that DVC writes into dvc.lock: of a folder, that of a list of its files."""
    sums = {}
    for file in files:
        with open(file, "rb") as opened:
            sums[file] = hashlib.file_digest(opened, "md5").hexdigest()
    if path.is_file():
        return sums[path]
    listed = [{"md5": sums[f], "relpath": f.relative_to(path).as_posix()} for f in files]
    listed.sort(key=lambda item: item["relpath"])
    return hashlib.md5(json.dumps(listed, sort_keys=True).encode()).hexdigest() + ".dir"
