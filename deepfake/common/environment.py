"""TODO of common.environment."""

import os
from pathlib import Path


def cores() -> int:
    """How many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def repository() -> Path:
    """The user's repository: DVC names it even where a stage runs in a temporary copy."""
    return Path(os.environ.get("DVC_ROOT") or os.getcwd()).resolve()


def anchored(path: str) -> Path:
    """`path` as given if absolute, else from the repository's root, wherever a stage runs."""
    return repository() / Path(path).expanduser()
