"""Where a run comes from: code, data, machine; for tags and artifacts, never for outputs."""

import hashlib
import json
import os
import platform
import subprocess
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from deepfake.common.environment import installed_version, repository
from deepfake.common.errors import PipelineError
from deepfake.common.files import read_yaml

PACKAGES = (
    "dvc", "mlflow", "tensorflow", "keras", "numpy", "pandas", "scikit-learn", "pillow", "pyarrow",
    "matplotlib", "kaggle", "openvino",
)  # fmt: skip
# What the pipeline itself writes into the tree; changes there are not changes of the code.
_WRITTEN = [":(exclude)dvc.lock", ":(exclude)metrics", ":(exclude)plots", ":(exclude)report.md"]
_PATCH_BYTES = 1_000_000
_NO_REPOSITORY = "not a git repository"  # in git's message
_PROBLEM = 300  # characters of it that are kept
_UNTRACKED = 1000  # names


@dataclass(frozen=True)
class Changes:
    """The changes in the working directory since its git revision."""

    patch: str  # apply it to the revision to get the tracked files; cut after 1 MB
    untracked: list[str]  # names of files and folders that git neither tracks nor ignores
    problem: str = ""  # why git cannot say, if it cannot

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
        "git_dirty": "unknown" if changes.problem else str(bool(changes)).lower(),
        "process": process(),
        "python": platform.python_version(),
    }


def place() -> dict[str, str]:
    """The tag that tells apart the rows of clones that share a server."""
    return {"repository": f"{platform.node()}:{repository()}"}


def revision() -> str:
    """The commit; `none` without a commit or a repository, `unknown` where git is not installed or
    refuses to read the repository."""
    return _head()[0]


def _head() -> tuple[str, str]:
    """The commit as `revision` gives it, and why it is unknown, if it is."""
    try:
        found = _git("rev-parse", "--verify", "--quiet", "HEAD")
    except _GitError as error:
        return ("none", "") if _NO_REPOSITORY in str(error) else ("unknown", str(error))
    return found.strip() or "none", ""


def find_changes() -> Changes:
    """The changes in the working directory: those of tracked files as a patch, bounded in size, and
    the names of untracked ones, whose contents may be secret."""
    known, problem = _head()
    if problem:
        return Changes("", [], problem)
    try:
        untracked = _names(
            "ls-files", "--others", "--exclude-standard", "--directory", "--no-empty-directory",
            "-z", "--", ".", *_WRITTEN,
        )  # fmt: skip
        if known == "none":
            return Changes("", _bounded(untracked))
        # What `git add --intent-to-add` named has no content in git yet: it counts as untracked.
        intended = _names("diff", "--name-only", "--diff-filter=A", "--relative", "-z")
        excluded = [f":(exclude,literal){name}" for name in intended]
        patch = _git(
            "diff", "--no-color", "--no-ext-diff", "--no-textconv", "HEAD",
            "--", ".", *_WRITTEN, *excluded, most=_PATCH_BYTES,
        )  # fmt: skip
    except _GitError as error:
        return Changes("", [], "" if _NO_REPOSITORY in str(error) else str(error))
    return Changes(patch, _bounded(sorted({*untracked, *intended})))


def _bounded(names: list[str]) -> list[str]:
    more = len(names) - _UNTRACKED
    return [*names[:_UNTRACKED], f"and {more:,} more"] if more > 0 else names


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
    except (PipelineError, KeyError, TypeError):  # the first: there is no dvc.lock
        return None
    return hashlib.sha256(json.dumps(chosen, sort_keys=True).encode()).hexdigest()


class _GitError(Exception):
    """Git is not installed or refuses; says why."""


def _names(*arguments: str) -> list[str]:
    """The names that git prints, each with a zero byte behind it."""
    return [name for name in _git(*arguments).split("\0") if name]


def _git(*arguments: str, most: int | None = None) -> str:
    """What git prints in the working directory, cut after `most` bytes.

    Raises:
        _GitError: git is not installed, or ends with an error (its status is neither 0 nor 1).
    """
    environment = {**os.environ, "LC_ALL": "C"}  # `_head` reads its messages
    try:
        with (
            tempfile.TemporaryFile() as errors,
            subprocess.Popen(
                ["git", *arguments], stdout=subprocess.PIPE, stderr=errors, env=environment
            ) as running,
        ):
            assert running.stdout is not None
            printed = running.stdout.read(-1 if most is None else most + 1)
            if most is not None and len(printed) > most:
                running.kill()
                whole = printed[:most].rpartition(b"\n")[0].decode(errors="replace")
                return f"{whole}\n[cut after {most:,} bytes]\n"
            if running.wait() in (0, 1):
                return printed.decode(errors="replace")
            errors.seek(0)
            told = errors.read(10_000).decode(errors="replace")
    except OSError as error:
        raise _GitError(f"git cannot be run: {error}"[:_PROBLEM]) from None
    raise _GitError(f"git {arguments[0]}: {' '.join(told.split())}"[:_PROBLEM])
