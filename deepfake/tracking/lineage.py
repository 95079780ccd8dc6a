"""Where a run comes from: code, data, machine; for tags and artifacts, never for outputs."""

import hashlib
import json
import os
import platform
import subprocess
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
import yaml

from deepfake.common.environment import repository

PACKAGES = (
    "dvc", "mlflow", "tensorflow", "keras", "numpy", "pandas", "scikit-learn", "pillow", "pyarrow",
    "matplotlib", "kaggle", "openvino",
)  # fmt: skip
# What the pipeline itself writes into the tree; a change there does not make the code another.
_WRITTEN = [":(exclude)dvc.lock", ":(exclude)metrics", ":(exclude)plots", ":(exclude)report.md"]


def origin(changes: str | None = None) -> dict[str, str]:
    """Tags of a run that is written now, in the working directory, with `changes` as `patch`
    tells them."""
    changes = patch() if changes is None else changes
    return {
        **place(),
        "experiment": os.environ.get("DVC_EXP_NAME") or "workspace",
        "git_revision": os.environ.get("DVC_EXP_BASELINE_REV") or revision(),
        "git_dirty": "true" if changes else "false",
        "process": process(),
        "python": platform.python_version(),
    }


def place() -> dict[str, str]:
    """The tag that keeps the rows of clones apart that share a server."""
    return {"repository": f"{platform.node()}:{repository()}"}


def revision() -> str:
    return _git("rev-parse", "HEAD") or "none"


def patch() -> str:
    """What has to be applied to the revision to get the code and parameters in use; untracked
    files too, if git does not ignore them."""
    changes = _git("diff", "HEAD", "--", ".", *_WRITTEN)
    listed = _git("ls-files", "--others", "--exclude-standard", "-z", "--", ".", *_WRITTEN)
    for name in filter(None, listed.split("\0")):
        if name.endswith((".py", ".yaml", ".txt", ".toml")):
            changes += "\n" + _git("diff", "--no-index", "--", os.devnull, name)
    return changes.strip() and changes.strip() + "\n"


def process() -> str:
    """This process, told apart from any other one: host, id, time of its start."""
    own = psutil.Process()
    return f"{platform.node()} {own.pid} {own.create_time():.0f}"


def environment() -> dict[str, Any]:
    """Versions and machine, as the run's `lineage/environment.json` records them."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": processor(),
        "cores": psutil.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "threads": {
            name: os.environ[name]
            for name in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
            if name in os.environ
        },
        "packages": {name: version(name) for name in PACKAGES},
    }


def processor() -> str:
    """The name of the processor's model."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass  # not Linux
    return platform.processor()


def lock_digest(root: Path, stages: Iterable[str]) -> str | None:
    """SHA-256 of what `dvc.lock` says of `stages`: commands, and digests of parameters, code,
    inputs and outputs. None where one of them is not in it."""
    try:
        # In C where PyYAML has it: the file is long.
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        lock = yaml.load((root / "dvc.lock").read_text(encoding="utf-8"), loader)["stages"]
        chosen = {stage: lock[stage] for stage in stages}
    except (OSError, KeyError, TypeError):
        return None
    return hashlib.sha256(json.dumps(chosen, sort_keys=True).encode()).hexdigest()


def _git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], capture_output=True, text=True, check=False, errors="replace"
    )
    return done.stdout.strip()
