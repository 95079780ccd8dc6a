"""A copy of this process that works beside it, and beside the stages that follow.

What it has imported and opened is then there for every stage that one `dvc` command runs; it ends
with that command. A process that DVC did not start has a copy to itself, which ends with it.

Only on Linux, and only of a process without threads.
"""

import gc
import hashlib
import importlib
import json
import os
import select
import signal
import socket
import struct
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psutil

Serve = Callable[[Connection], None]
IDLE = 60.0  # seconds without a stage after which it ends though the command goes on
_ANSWER = 2.0  # seconds in which one that is free answers
_STANDARD = (1, 2)  # standard output and error


def possible() -> bool:
    """Whether this process can be copied."""
    return sys.platform == "linux" and threading.active_count() == 1


class Helper:
    """This process's connection to one that serves it."""

    def __init__(self, channel: Connection, pid: int, own: bool) -> None:
        self.channel = channel
        self.pid = pid
        self._own = own

    def close(self) -> None:
        """End the connection; one that serves this process alone is waited for."""
        self.channel.close()
        if self._own:
            with suppress(ChildProcessError):
                os.waitpid(self.pid, 0)


def helper(serve: Serve) -> Helper:
    """A process that calls `serve` with its end of a connection, in this process's working
    directory and environment, with its standard output and error: the one that an earlier stage of
    the same command left, or else a copy of this process."""
    address = _address(serve.__qualname__)
    left = _join(address) if address else None
    if left is not None:
        return left
    listener = _listen(address) if address else None
    command = os.pidfd_open(os.getppid()) if listener else -1
    ours, theirs = socket.socketpair()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        try:
            _work(serve, theirs, listener, command)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(0)  # what this process is a copy of has its own end
    theirs.close()
    if listener:
        listener.close()
        os.close(command)
    return Helper(Connection(ours.detach()), pid, own=listener is None)


@contextmanager
def prepared(packages: Sequence[str]) -> Iterator[Callable[..., Any]]:
    """A function with which to call others, `call(function, *arguments)`, in a process that imports
    `packages` meanwhile. What they raise is raised here.

    Where there is no such process, or it was killed, `call` calls the function itself.
    """
    if not possible():
        yield lambda function, *arguments: function(*arguments)
        return
    process = helper(_serve_calls)
    channel = process.channel
    try:
        with suppress(OSError):
            channel.send(list(packages))
        yield partial(_call, channel)
    finally:
        with suppress(OSError):
            channel.send(None)
        process.close()


@contextmanager
def preparing(packages: Sequence[str]) -> Iterator[None]:
    """Let the process of `prepared` import packages meanwhile for a stage to come; only where it
    lives on for one."""
    if not (possible() and _address(_serve_calls.__qualname__)):
        yield
        return
    with prepared(packages):
        yield


def _call(channel: Connection, function: Callable[..., Any], *arguments: Any) -> Any:
    try:
        channel.send((function, arguments))
        result, error = channel.recv()
    except (EOFError, OSError):
        return function(*arguments)
    if error is not None:
        raise error
    return result


def _serve_calls(channel: Connection) -> None:
    """What the process of `prepared` does: import while nothing else is to be done."""
    with suppress(EOFError, OSError):
        packages = channel.recv()
        while True:
            while packages and not channel.poll():
                importlib.import_module(packages.pop(0))
            request = channel.recv()
            if request is None:
                return
            function, arguments = request
            try:
                result, raised = function(*arguments), None
            except Exception as error:
                result, raised = None, error
            channel.send((result, raised))


def _address(purpose: str) -> str | None:
    """The name under which stages of one command, with the same code and surroundings, find the
    process for a purpose; None where DVC did not start this one."""
    if "DVC_STAGE" not in os.environ or not hasattr(os, "pidfd_open"):
        return None
    try:
        command = psutil.Process(os.getppid())
        started = command.create_time()
    except psutil.Error:
        return None
    code = [
        (str(path), path.stat().st_mtime_ns, path.stat().st_size)
        for path in sorted(Path(__file__).parent.rglob("*.py"))
    ]
    facts = [purpose, command.pid, started, os.getcwd(), sys.executable, _environment(), code]
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    return f"\0deepfake-{digest[:32]}"  # Linux's abstract names need no file


def _environment() -> list[str]:
    """What this process was started with, but for DVC's words on the stage. Packages add to
    `os.environ` as they are imported."""
    variables = os.fsdecode(Path("/proc/self/environ").read_bytes()).split("\0")
    return sorted(variable for variable in variables if not variable.startswith("DVC_"))


def _join(address: str) -> Helper | None:
    """The process that listens there, if one does and is free."""
    with socket.socket(socket.AF_UNIX) as connected:
        try:
            connected.connect(address)
            pid, user = _peer(connected)
            if user != os.getuid():  # whoever it is, it is not ours
                return None
            socket.send_fds(connected, [b"\0"], _STANDARD)
            channel = Connection(os.dup(connected.fileno()))
            channel.send((os.getcwd(), dict(os.environ)))
            if channel.poll(_ANSWER) and channel.recv() == "ready":
                return Helper(channel, pid, own=False)
            channel.close()
        except (OSError, EOFError):
            pass
    return None


def _listen(address: str) -> socket.socket | None:
    listener = socket.socket(socket.AF_UNIX)
    try:
        listener.bind(address)
    except OSError:  # taken by one that is not free
        listener.close()
        return None
    listener.listen()
    return listener


def _peer(connected: socket.socket) -> tuple[int, int]:
    """Process and user at the other end."""
    credentials = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    pid, user, _ = struct.unpack("3i", credentials)
    return pid, user


def _work(serve: Serve, first: socket.socket, listener: socket.socket | None, command: int) -> None:
    """What the copy does: serve the process it was made by, then those that come."""
    gc.freeze()  # no object of the other process may close a file by its number, used anew here
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # that one says how it ended
    channel = Connection(first.detach())
    _keep_open([*_STANDARD, channel.fileno(), command, listener.fileno() if listener else -1])
    if listener is None:
        serve(channel)
        return
    with channel:
        serve(channel)
    while True:
        _withdraw()
        waiting, _, _ = select.select([listener.fileno(), command], [], [], IDLE)
        if listener.fileno() not in waiting:
            return
        taken, _ = listener.accept()
        with suppress(OSError, EOFError):  # it may be gone already
            _take_up(taken)
            with Connection(taken.detach()) as channel:
                _adopt(*channel.recv())
                channel.send("ready")
                serve(channel)


def _keep_open(files: Iterable[int]) -> None:
    """Close all other files: they are the other process's, its pipes and locks among them."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) not in files:
            with suppress(OSError):
                os.close(int(name))
    nowhere = os.open(os.devnull, os.O_RDONLY)  # 0: standard input
    assert nowhere == 0


def _withdraw() -> None:
    """Hold on to nothing that belongs to the process last served."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.chdir("/")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in _STANDARD:
        os.dup2(nowhere, stream)
    os.close(nowhere)


def _take_up(taken: socket.socket) -> None:
    """Print where the process at the other end does."""
    if _peer(taken)[1] != os.getuid():
        taken.close()
        raise OSError("another user's process")
    _, streams, _, _ = socket.recv_fds(taken, 1, len(_STANDARD))
    for stream, standard in zip(streams, _STANDARD, strict=True):
        os.dup2(stream, standard)
        os.close(stream)


def _adopt(folder: str, environment: dict[str, str]) -> None:
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
