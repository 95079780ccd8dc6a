"""The error for what the user can fix, and how a program ends on it."""

import atexit
import contextlib
import errno
import functools
import gc
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from deepfake.common import program

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# What libraries say that wrap such an error in one of their own; the last is OpenVINO's.
_SAID_OF_FULL = (*map(os.strerror, _FULL), "iostream error")


class PipelineError(Exception):
    """Something outside the code is wrong: a parameter, a file, an account, a data set.

    The message says what was wrong, where, what was received and what to do; it is printed
    without a traceback.
    """


def command(main: Callable[[], None]) -> Callable[[], None]:
    """Decorate the `main` of a program: what the user can fix becomes one message and exit status
    1, an interrupt one word and exit status 130."""

    @functools.wraps(main)
    def wrapper() -> None:
        program.open_streams()
        # Importing creates many objects and almost no garbage; looking for it at exit takes
        # 0.4 to 1 s.
        gc.set_threshold(100_000)
        atexit.register(gc.freeze)
        try:
            with program.interruptible():
                main()
                sys.stdout.flush()  # here a full disk can still be told of
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr, flush=True)
            with contextlib.suppress(OSError):
                sys.stdout.flush()
            # Python would wait for threads, and one of them may be decoding a large image. The
            # blocks that this interrupt left have tidied up already.
            os._exit(program.INTERRUPTED)
        except Exception as error:
            known = fixable(error)
            if known is None:
                raise
            print(f"error: {known}", file=sys.stderr, flush=True)
            sys.exit(1)

    return wrapper


def fixable(error: Exception) -> PipelineError | None:
    """The `PipelineError` that `error` is, or that tells of a full disk; None if it is a bug."""
    if isinstance(error, PipelineError):
        return error
    return no_room(getattr(error, "filename", None), error)


def no_room(
    path: Path | str | None, error: Exception, partial: Path | None = None
) -> PipelineError | None:
    """What to tell the user if `error` comes of a full disk; None if it does not.

    Libraries report that in many ways, and some not at all. So an error without a reason is taken
    for it if nothing is free.

    Args:
        path: of the file that was written; None if nobody knows.
        error: what was raised.
        partial: the file that has its bytes until it is renamed to `path`.
    """
    file = Path(path or ".").absolute()
    folder = next(parent for parent in (file, *file.parents) if parent.is_dir())
    free = shutil.disk_usage(folder).free
    unclear = isinstance(error, RuntimeError) or getattr(error, "errno", 0) is None
    reason = _reason_full(error) or (os.strerror(errno.ENOSPC) if unclear and not free else None)
    if reason is None:
        return None
    what = file if path else "a file"
    begun = partial or file
    written = f" after {begun.stat().st_size / 1e6:,.1f} MB" if begun.is_file() else ""
    return PipelineError(
        f"cannot write {what}{written}: {reason}; {free / 1e6:,.1f} MB are free in {folder}. "
        "Make room there, then run the same again"
    )


def _reason_full(error: BaseException) -> str | None:
    """Why there is no room for what was written; None if `error` has another reason."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in _FULL:
            return os.strerror(cause.errno)
        for said in _SAID_OF_FULL:
            if said in str(cause):
                return said
        cause = cause.__cause__ or cause.__context__
    return None
