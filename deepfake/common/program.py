"""What a program of the pipeline shares with its surroundings: standard streams and interrupts."""

import io
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

INTERRUPTED = 130  # the exit status that shells give a program that Ctrl+C ended


class _Lasting(io.FileIO):
    """Our end of a pipe. If the reader has left, what is written is dropped, without an error."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data) or 0
        except BrokenPipeError:
            return memoryview(data).nbytes


def open_streams() -> None:
    """Make standard output and error usable if they are closed, or if their reader leaves.

    A closed stream is opened on the null device. Libraries expect a stream to be there, and the
    next file opened would otherwise get its number. Text that the terminal cannot show is escaped.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)
            if null != number:
                os.dup2(null, number)
                os.close(null)
    for name, number in (("stdout", 1), ("stderr", 2)):
        stream, original = getattr(sys, name), getattr(sys, f"__{name}__")
        if stream is None or stream is original:  # otherwise it is ours already, or a test's
            setattr(sys, name, _lasting(stream, number))


def _lasting(stream: Any, number: int) -> io.TextIOWrapper:
    """A new stream for standard output or error, with the encoding and buffering of the old one."""
    raw: Any = _Lasting(number, "w", closefd=False)
    if stream is None:
        return io.TextIOWrapper(io.BufferedWriter(raw), "utf-8", "backslashreplace")
    stream.flush()
    return io.TextIOWrapper(
        raw if stream.write_through else io.BufferedWriter(raw),
        encoding=stream.encoding,
        errors="backslashreplace",
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


def end_when_interrupted() -> None:
    """Make Ctrl+C and SIGTERM end a process that `python -m` started at once, with one line.

    This covers the time before and after a program's work, when it imports packages and when it
    exits. There is nothing to tidy up then, and an exception would print a traceback.
    """
    if sys.argv[:1] == ["-m"]:  # what Python puts there while it looks for the module to run
        _handle(_end)


@contextmanager
def interruptible() -> Iterator[None]:
    """In the block, Ctrl+C and SIGTERM raise `KeyboardInterrupt`, so that the block can tidy up."""
    if threading.current_thread() is not threading.main_thread():
        yield  # others get no signals
        return

    def unraisable(told: Any) -> None:
        """Python drops an exception in a callback or a finaliser; an interrupt must end all."""
        if isinstance(told.exc_value, KeyboardInterrupt):
            _end(signal.SIGINT, None)
        former_hook(told)

    former_hook, sys.unraisablehook = sys.unraisablehook, unraisable
    former = _handle(signal.default_int_handler)
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
        sys.unraisablehook = former_hook


def _handle(handler: Any) -> dict[int, Any]:
    """Handle Ctrl+C and SIGTERM, but not one that this process was started to ignore.

    Returns:
        The former handler of each signal.
    """
    former: dict[int, Any] = {
        number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)
    }
    handled = {number: one for number, one in former.items() if one is not signal.SIG_IGN}
    for number in handled:
        signal.signal(number, handler)
    return handled


def _end(number: int, frame: FrameType | None) -> None:
    try:
        os.write(2, b"interrupted\n")
    finally:
        os._exit(INTERRUPTED)
