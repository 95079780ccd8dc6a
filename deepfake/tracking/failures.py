"""What becomes of an error of the store: a warning or a `PipelineError`, without secrets."""

import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from deepfake.common.address import shown, uri, without_secrets
from deepfake.common.errors import PipelineError

_PACKAGES = ("mlflow", "requests", "urllib3", "sqlalchemy", "sqlite3", "alembic")
_NOT_LOGGED = "the run could not be logged to"


@contextmanager
def required(failed: str = _NOT_LOGGED) -> Iterator[None]:
    """Turn what the store, the network or the disk raises in the block into a `PipelineError`.

    Args:
        failed: what could not be done at the store's address.
    """
    try:
        yield
    except Exception as error:
        # An ImportError: the driver of a database is not installed.
        if not isinstance(error, OSError | ImportError) and not _of_the_store(error):
            raise
        raise failure(error, failed) from None


def _of_the_store(error: Exception) -> bool:
    """Whether an error arose in MLflow or below: a strange answer makes it raise anything."""
    frames = traceback.walk_tb(error.__traceback__)
    modules = [type(error).__module__, *(frame.f_globals["__name__"] for frame, _ in frames)]
    return any(module.partition(".")[0] in _PACKAGES for module in modules)


def could_not_log(error: Exception, policy: str) -> None:
    """Warn of an error of the store (`best_effort`) or raise a `PipelineError` (`required`)."""
    told = failure(error)
    if policy == "required":
        raise PipelineError(f"{told} (tracking.policy is `required`)") from None
    print(f"warning: {told}; the stage's own outputs are not affected", file=sys.stderr)


def failure(error: Exception, failed: str = _NOT_LOGGED) -> PipelineError:
    """What to tell the user of an error of the store; `failed` is as for `required`."""
    return PipelineError(f"{failed} {shown(uri())}: {reason(error)}")


def reason(error: Exception) -> str:
    """The message of an error on one line, cut, and without addresses and passwords."""
    return without_secrets(" ".join(str(error).split()))[:300] or type(error).__name__
