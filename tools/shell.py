"""Git and DVC as the tools call them."""

import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from deepfake.common.errors import PipelineError

_SHOWN_LINES = 20  # of what a failed command printed last


def run(
    *command: str, folder: Path | None = None, environment: Mapping[str, str] | None = None
) -> str:
    """Run a command and return what it prints.

    Args:
        command: the program and its arguments.
        folder: where it runs; None: where this process does.
        environment: its environment variables; None: those of this process.

    Raises:
        PipelineError: it cannot be started, or it failed; with the end of what it said.
    """
    # Files, not pipes: the workers of DVC's queue inherit them and live on.
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        try:
            done = subprocess.run(
                command, cwd=folder, env=environment, stdin=subprocess.DEVNULL,
                stdout=output, stderr=errors, check=False,
            )  # fmt: skip
        except OSError as error:
            raise PipelineError(
                f"{command[0]} cannot be run: {error}. Install it, or correct PATH"
            ) from None
        for file in (output, errors):
            file.seek(0)
        printed = output.read().decode(errors="replace")
        if done.returncode:
            said = errors.read().decode(errors="replace").strip() or printed.strip()
            end = "\n".join(said.splitlines()[-_SHOWN_LINES:])
            raise PipelineError(f"{' '.join(command[:3])} failed: {end}")
    return printed


def git(*arguments: str) -> str:
    """Run `git` and return what it prints; see `run`."""
    return run("git", *arguments)


def dvc(*arguments: str) -> str:
    """Run `dvc` and return what it prints; see `run`."""
    return run("dvc", *arguments)
