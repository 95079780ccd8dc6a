"""Git and DVC as the tools call them."""

import subprocess
import tempfile

from deepfake.common.errors import PipelineError


def git(*arguments: str) -> str:
    """Run `git` and return what it prints."""
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    except OSError as error:
        raise PipelineError(f"git cannot be run: {error}. Install it, or correct PATH") from None
    if done.returncode:
        raise PipelineError(f"git {arguments[0]} failed: {done.stderr.strip()}")
    return done.stdout


def dvc(*arguments: str) -> str:
    """Run `dvc` and return what it prints."""
    # Files, not pipes: the workers of the queue inherit them and live on.
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        done = subprocess.run(["dvc", *arguments], stdout=output, stderr=errors, check=False)
        output.seek(0)
        errors.seek(0)
        if done.returncode:
            raise PipelineError(f"dvc {' '.join(arguments)} failed:\n{errors.read().strip()}")
        return output.read()
