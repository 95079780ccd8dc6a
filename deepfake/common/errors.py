"""The error for what the user can fix, and how a program ends on it."""

import atexit
import contextlib
import functools
import gc
import os
import sys
from collections.abc import Callable


class PipelineError(Exception):
    """Something outside the code is wrong: a parameter, a file, an account, a data set.

    The message says what was wrong, where, what was received and what to do; it is printed
    without a traceback.
    """


def command(main: Callable[[], None]) -> Callable[[], None]:
    """Decorate the `main` of a program: a `PipelineError` becomes one message and exit status 1."""

    @functools.wraps(main)
    def wrapper() -> None:
        # Importing creates many objects and almost no garbage; looking for it at exit takes
        # 0.4 to 1 s.
        gc.set_threshold(100_000)
        atexit.register(gc.freeze)
        try:
            main()
        except PipelineError as error:
            print(f"error: {error}", file=sys.stderr, flush=True)
            sys.exit(1)
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr, flush=True)
            with contextlib.suppress(OSError):
                sys.stdout.flush()
            # Python would wait for threads, one of which may be decoding a large image. All that
            # had to be put in order was, on the way here.
            os._exit(130)

    return wrapper
