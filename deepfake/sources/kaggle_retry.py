"""Kaggle's failures: which of them may pass, how long to wait, and what to tell the user."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import tenacity
from urllib3.exceptions import HTTPError, InvalidHeader
from urllib3.util import Retry

from deepfake.common.errors import PipelineError

# Attempts in a row that bring nothing new; one that brings bytes starts the count again.
ATTEMPTS = 5
# Attempts in all, whatever they bring: a server may cut each after a byte.
MOST_ATTEMPTS = 100
# The first wait between attempts, in seconds; each is twice the one before.
FIRST_WAIT = 2.0
LONGEST_WAIT = 120.0
CREDENTIALS = (
    "Create an API token at https://www.kaggle.com/settings/api (Generate New Token) and put it "
    "into the environment variable KAGGLE_API_TOKEN or the file ~/.kaggle/access_token, or run "
    "`kaggle auth login`; an older ~/.kaggle/kaggle.json, or KAGGLE_USERNAME and KAGGLE_KEY, work "
    "as well. Without an account: data.source: sample draws its own images, and data.source: "
    "folder reads a directory or zip that you have."
)

T = TypeVar("T")


class TooSlow(HTTPError):
    """A connection brings bytes, but fewer than `rate` a second."""

    def __init__(self, rate: int) -> None:
        super().__init__(f"Kaggle sent less than {rate:,} bytes a second")


@dataclass(frozen=True, slots=True)
class DataSet:
    """What `owner/slug` or `owner/slug/version` names."""

    owner: str
    slug: str
    version: int | None

    @property
    def ref(self) -> str:
        return f"{self.owner}/{self.slug}"

    @property
    def page(self) -> str:
        return f"https://www.kaggle.com/datasets/{self.ref}"


def patiently(ask: Callable[[], T], data_set: DataSet, path: Path | None = None) -> T:
    """Call `ask` until it succeeds, waiting after failures that may pass.

    Args:
        ask: what to call.
        data_set: the data set, for the error.
        path: the file that `ask` makes grow. If it is larger than ever before, and was not too
            slow, the attempts are counted from 1 again.

    Returns:
        What `ask` returns.

    Raises:
        PipelineError: the failure cannot pass, or did not pass in `ATTEMPTS` attempts, or in
            `MOST_ATTEMPTS` in all.
    """
    largest = file_size(path)
    left = MOST_ATTEMPTS

    def recount(state: tenacity.RetryCallState) -> None:
        nonlocal largest, left
        left -= 1
        if file_size(path) > largest and not isinstance(_error(state), TooSlow):
            state.attempt_number = 1
        largest = max(largest, file_size(path))

    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception(_may_pass),
        after=recount,
        stop=lambda state: state.attempt_number >= ATTEMPTS or not left,
        wait=wait_seconds,
        before_sleep=_announce,
        reraise=True,
    )
    try:
        return retrying(ask)
    except Exception as error:
        raise _explained(error, data_set, path) from None


def wait_seconds(state: tenacity.RetryCallState) -> float:
    """Seconds before the next attempt: what Kaggle asks for, or twice the wait before."""
    doubled = tenacity.wait_exponential(multiplier=FIRST_WAIT)(state)
    response = getattr(_error(state), "response", None)
    header = response.headers.get("Retry-After", "") if response is not None else ""
    try:
        requested = Retry().parse_retry_after(header)
    except (InvalidHeader, ValueError, OverflowError):
        requested = 0.0
    return min(max(doubled, requested), LONGEST_WAIT)


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def file_size(path: Path | None) -> int:
    """Size of a file in bytes; 0 if there is none."""
    return path.stat().st_size if path is not None and path.exists() else 0


def _error(state: tenacity.RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome else None


def _announce(state: tenacity.RetryCallState) -> None:
    say(
        f"{_short(_error(state))}; attempt {state.attempt_number + 1} of {ATTEMPTS} in "
        f"{state.upcoming_sleep:.0f} s"
    )


def _status(error: BaseException | None) -> int | None:
    status = getattr(getattr(error, "response", None), "status_code", None)
    return status if isinstance(status, int) else None


def _may_pass(error: BaseException) -> bool:
    """Whether another attempt may help."""
    status = _status(error)
    if status is not None:
        return status == 429 or status >= 500
    # The client raises a ValueError for a file of another length than announced.
    names = {cls.__name__ for cls in type(error).__mro__}
    return bool(names & {"RequestException", "HTTPError", "ValueError"}) and not _is_a_page(error)


def _is_a_page(error: BaseException) -> bool:
    """Whether something other than Kaggle's API has answered."""
    return any(cls.__name__ == "JSONDecodeError" for cls in type(error).__mro__)


def _short(error: BaseException | None) -> str:
    """Say what happened, without addresses: those of downloads are signed, and so secret."""
    status = _status(error)
    if status is not None:
        return f"Kaggle answered with status {status}"
    if isinstance(error, TooSlow):
        return str(error)
    return f"the connection to Kaggle failed ({type(error).__name__})"


def _explained(error: Exception, data_set: DataSet, path: Path | None) -> PipelineError:
    """Turn a failure into an error that says what to do."""
    if isinstance(error, PipelineError):
        return error
    advice = {
        401: f"The credentials are not accepted. {CREDENTIALS}",
        403: f"Log in, open {data_set.page} and accept its terms; a private data set must be "
        "shared with you.",
        404: f"There is no such data set or version; see {data_set.page} and data.kaggle.dataset.",
        429: "That is too many requests; wait some minutes and run again.",
    }
    kept = (
        f" The {file_size(path)} bytes received so far are kept; the next run continues there."
        if path
        else ""
    )
    status = _status(error)
    if _is_a_page(error):
        return PipelineError(
            f"cannot download {data_set.ref}: the answer did not come from Kaggle. A proxy or "
            "a network's sign-in page may be in the way."
        )
    if status is None and not _may_pass(error):
        text = f"cannot download {data_set.ref}: {type(error).__name__}"
        detail = f": {error.strerror}" if isinstance(error, OSError) and error.strerror else ""
        return PipelineError(f"{text}{detail}.{kept}")
    told = advice.get(status or 0, f"Run again when Kaggle can be reached.{kept}")
    version = f" version {data_set.version}" if data_set.version else ""
    return PipelineError(f"cannot download {data_set.ref}{version}: {_short(error)}. {told}")
