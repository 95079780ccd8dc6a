"""What input has no business to make a program do: write, start a program, call another host."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
# Python's audit events whose first argument is a path.
_CHANGING = (
    "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate",
    "os.chmod", "os.utime", "shutil.",
)  # fmt: skip
_RUNNING = (
    "os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen", "pickle.find_class",
)  # fmt: skip


class Watch:
    """Listens to what Python does, by its own audit events, and keeps what is forbidden.

    Args:
        room: the folder below which files may be written, and in which the process works; None:
            nothing may be written.
        secret: the name of a file that may not be opened.

    Attributes:
        seen: what was done that is forbidden.
    """

    def __init__(self, room: Path | None = None, secret: str = "") -> None:
        self.seen = list[str]()
        self._active, self._room, self._secret = False, room and str(room), secret
        sys.addaudithook(self._hear)

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Listen while the block runs.

        Raises:
            AssertionError: the block did what is forbidden.
        """
        self.seen.clear()
        self._active = True
        try:
            yield
        finally:
            self._active = False
        assert not self.seen, f"forbidden: {self.seen}"

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self._active and not self._allowed(event, arguments):
            self.seen.append(f"{event} {arguments}")

    def _allowed(self, event: str, arguments: tuple[Any, ...]) -> bool:
        if event == "open":
            path, _, flags = arguments
            if self._secret and str(path).endswith(self._secret):
                return False
            # Modules that are imported for the first time are compiled and kept.
            writes = isinstance(flags, int) and flags & _WRITING
            return not writes or "__pycache__" in str(path) or self._inside(path)
        if event.startswith(_CHANGING):
            return self._inside(arguments[0])
        if event == "socket.connect":
            return self._room is not None and arguments[1][0] == "127.0.0.1"
        return not event.startswith(_RUNNING)

    def _inside(self, path: Any) -> bool:
        if self._room is None:
            return False
        if isinstance(path, int):  # a descriptor, whose opening was heard
            return True
        full = os.path.abspath(os.fsdecode(path))
        return full == self._room or full.startswith(self._room + os.sep)
