"""What the process runs on: processors, the repository, installed packages."""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from deepfake.common.errors import PipelineError


@dataclass(frozen=True)
class Hardware:
    """What the arithmetic runs on, as the run records it."""

    device: str  # "CPU" or the GPU's name
    cores: int
    precision: str  # Keras's name of the policy: float32, mixed_float16, mixed_bfloat16
    engine: str  # what computes: tensorflow, openvino, numpy

    def record(self) -> dict[str, str | int]:
        return asdict(self)


def cores() -> int:
    """The number of processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def repository() -> Path:
    """The user's repository, which DVC names also where a stage runs in a temporary copy."""
    return Path(os.environ.get("DVC_ROOT") or os.getcwd()).resolve()


def anchored(path: Path | str) -> Path:
    """`path` if it is absolute; else `path` from the repository's root, wherever a stage runs.

    Raises:
        PipelineError: it begins with the name of no user (`~name`), or holds a null character.
    """
    if "\0" in str(path):
        raise PipelineError(f"the path {str(path)!r} holds a null character")
    try:
        return repository() / Path(path).expanduser()
    except RuntimeError:
        raise PipelineError(
            f"{path}: no user of this machine has that name; write the path from / or from the "
            "repository's root, or put ./ before a folder whose name begins with ~"
        ) from None


def require_versions(wanted: Mapping[str, str]) -> None:
    """Check that packages are installed in the versions on which results depend.

    Args:
        wanted: the version of each package, as in versions.yaml.

    Raises:
        PipelineError: a package is missing or has another version; it names all of them.
    """
    wrong = [
        f"{name} {found or 'is missing'}, expected {expected}"
        for name, expected in wanted.items()
        if (found := installed_version(name)) != expected
    ]
    if wrong:
        raise PipelineError(
            f"installed packages differ from versions.yaml: {'; '.join(wrong)}. Results depend on "
            "them: run `make install`, or `make lock` to move the project to other versions."
        )


def installed_version(package: str) -> str | None:
    """The version of an installed package; None if it is missing.

    `tensorflow` is also found where it is installed as tensorflow-cpu, which holds the same module.
    """
    for name in (package, "tensorflow-cpu") if package == "tensorflow" else (package,):
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return None
