"""Where a run comes from: code, data, machine; for tags and artifacts, never for outputs."""

import hashlib
import json
import os
import platform
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from deepfake.common.environment import installed_version, repository
from deepfake.common.files import read_yaml

PACKAGES = (
    "dvc", "mlflow", "tensorflow", "keras", "numpy", "pandas", "scikit-learn", "pillow", "pyarrow",
    "matplotlib", "kaggle", "openvino",
)  # fmt: skip
# What the pipeline itself writes into the tree; changes there are not changes of the code.
_WRITTEN = [":(exclude)dvc.lock", ":(exclude)metrics", ":(exclude)plots", ":(exclude)report.md"]
_PATCH_BYTES = 1_000_000
_UNTRACKED = 1000  # names


@dataclass(frozen=True)
class Changes:
    """The changes in the working directory since its git revision."""

    patch: str  # apply it to the revision to get the tracked files; cut after 1 MB
    untracked: list[str]  # names of files and folders that git neither tracks nor ignores

    def __bool__(self) -> bool:
        return bool(self.patch or self.untracked)


def origin(changes: Changes | None = None) -> dict[str, str]:
    """Tags of a run that is written now, in the working directory.

    Args:
        changes: those of the working directory, if they are known already.

    `git_dirty` is true with any change to a tracked file and with any untracked file that git does
    not ignore: it may be code that ran, and the run has no copy of it. What the pipeline itself
    writes does not count.
    """
    changes = find_changes() if changes is None else changes
    known = revision()
    return {
        **place(),
        "experiment": os.environ.get("DVC_EXP_NAME") or "workspace",
        "git_revision": os.environ.get("DVC_EXP_BASELINE_REV") or known,
        "git_dirty": "unknown" if known == "unknown" else str(bool(changes)).lower(),
        "process": process(),
        "python": platform.python_version(),
    }


def place() -> dict[str, str]:
    """The tag that tells apart the rows of clones that share a server."""
    return {"repository": f"{platform.node()}:{repository()}"}


def revision() -> str:
    """The commit; `none` without a commit or a repository, `unknown` where git is not installed or
    refuses to read the repository."""
    done = _git("rev-parse", "--verify", "--quiet", "HEAD")
    if done is None:
        return "unknown"
    if done.returncode in (0, 1):
        return done.stdout.decode().strip() or "none"
    return "none" if b"not a git repository" in done.stderr else "unknown"


def find_changes() -> Changes:
    """The changes in the working directory: those of tracked files as a patch, bounded in size, and
    the names of untracked ones, whose contents may be secret."""
    patch = _printed("diff", "--no-color", "--no-ext-diff", "HEAD", "--", ".", *_WRITTEN)
    listed = _printed(
        "ls-files", "--others", "--exclude-standard", "--directory", "--no-empty-directory", "-z",
        "--", ".", *_WRITTEN,
    )  # fmt: skip
    untracked = [name for name in listed.split("\0") if name]
    if len(untracked) > _UNTRACKED:
        untracked[_UNTRACKED:] = [f"and {len(untracked) - _UNTRACKED:,} more"]
    return Changes(_cut(patch), untracked)


def _cut(patch: str) -> str:
    data = patch.encode()
    if len(data) <= _PATCH_BYTES:
        return patch
    kept = data[:_PATCH_BYTES].rpartition(b"\n")[0].decode()
    return f"{kept}\n[cut: the whole patch has {len(data):,} bytes]\n"


def process() -> str:
    """This process, told apart from any other one: host, id, time of its start."""
    own = psutil.Process()
    return f"{platform.node()} {own.pid} {own.create_time():.0f}"


def environment() -> dict[str, Any]:
    """Versions of Python and packages, and the machine."""
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
        "packages": {name: installed_version(name) for name in PACKAGES},
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
    """SHA-256 of the entries of `stages` in `dvc.lock`: commands, and digests of parameters, code,
    inputs and outputs. None if one of them is missing."""
    try:
        lock = read_yaml(root / "dvc.lock")["stages"]
        chosen = {stage: lock[stage] for stage in stages}
    except (OSError, KeyError, TypeError):
        return None
    return hashlib.sha256(json.dumps(chosen, sort_keys=True).encode()).hexdigest()


def _printed(*arguments: str) -> str:
    """What git prints; nothing where it fails."""
    done = _git(*arguments)
    if done is None or done.returncode != 0:
        return ""
    return done.stdout.decode(errors="replace")


def _git(*arguments: str) -> subprocess.CompletedProcess[bytes] | None:
    """Run git in the working directory; None where it is not installed."""
    try:
        return subprocess.run(
            ["git", *arguments],
            capture_output=True,
            check=False,
            env={**os.environ, "LC_ALL": "C"},  # `revision` reads its messages
        )
    except OSError:
        return None
