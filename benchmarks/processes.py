"""What a command and the stages below it take: wall time, memory of the whole process tree."""

import ctypes
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from deepfake.common.errors import PipelineError
from tools import verify

INTERVAL = 0.1  # seconds between samples
COMMAND = "command"  # the name of what is not part of a stage: `dvc` itself
_LEFT = "left"  # of what stages have left behind
_SET_CHILD_SUBREAPER = 36  # of Linux's prctl(2)


@dataclass
class Usage:
    """Of one stage, all its child processes, and those that an earlier stage left beside it
    (`deepfake.beside`), as far as samples tell.

    Attributes:
        first, last: seconds after the command's start at which it was seen.
        peak: bytes of resident memory, at most. Pages that processes share count in each.
        private: the same without pages of files and those shared, at most.
    """

    first: float
    last: float
    peak: int = 0
    private: int = 0

    @property
    def seconds(self) -> float:
        return self.last - self.first


def timed(cwd: Path, *command: str) -> float:
    """Seconds of wall time that a command takes in a clone, with nothing watching it.

    Raises:
        PipelineError: it failed, with the end of what it printed.
    """
    start = time.perf_counter()
    done = subprocess.run(
        command, cwd=cwd, env=verify.environment(), check=False, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    seconds = time.perf_counter() - start
    if done.returncode:
        raise PipelineError(f"{' '.join(command)} failed in a clone:\n{done.stdout[-2000:]}")
    return seconds


def watch(command: list[str], cwd: Path, environment: dict[str, str]) -> dict[str, Usage]:
    """Run a command; returns the usage of each `python -m stages.NAME` below it by NAME, and that
    of everything else as `COMMAND`, whose `seconds` are the whole wall time.

    Raises:
        PipelineError: it failed, with the end of what it printed.
    """
    found: dict[str, Usage] = {}
    log = cwd / "cache" / "command.log"
    log.parent.mkdir(exist_ok=True)
    with open(log, "wb") as output, _adopting() as others:
        start = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=cwd, env=environment, stdin=subprocess.DEVNULL, stdout=output,
            stderr=subprocess.STDOUT,
        )  # fmt: skip
        found[COMMAND] = Usage(0.0, 0.0)
        while True:
            try:
                process.wait(INTERVAL)
            except subprocess.TimeoutExpired:
                _sample(process.pid, others, time.perf_counter() - start, found)
                continue
            break
        found[COMMAND].last = time.perf_counter() - start
    if process.returncode:
        raise PipelineError(f"{' '.join(command)} failed:\n{log.read_text()[-3000:]}")
    return found


@contextmanager
def _adopting() -> Iterator[set[int]]:
    """Be the parent (on Linux) of what the block's processes leave behind, until it has ended;
    yields the ids of the children that there are already."""
    others = {process.pid for process in psutil.Process().children()}
    adopt = ctypes.CDLL(None).prctl if sys.platform == "linux" else lambda *_: 0
    adopt(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        yield others
        left = [child for child in psutil.Process().children() if child.pid not in others]
        psutil.wait_procs(left, timeout=10)
    finally:
        adopt(_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def _sample(pid: int, others: set[int], now: float, found: dict[str, Usage]) -> None:
    own = psutil.Process()
    totals: dict[str, tuple[int, int]] = {}
    names: dict[int, str] = {}
    # Parents come before their children, and one look at the system's processes finds all.
    for process in own.children(recursive=True):
        with suppress(psutil.Error):  # it has just ended
            above = names.get(process.ppid(), _LEFT if process.ppid() == own.pid else None)
            if above is None or process.pid in others:
                continue
            name = COMMAND if process.pid == pid else above
            if name != _LEFT:
                name = _stage(process) or name
            names[process.pid] = name
            memory = process.memory_info()
            resident, private = totals.get(name, (0, 0))
            shared = getattr(memory, "shared", 0)
            totals[name] = resident + memory.rss, private + memory.rss - shared
    left = totals.pop(_LEFT, (0, 0))
    for name, total in totals.items():
        beside = left if name != COMMAND else (0, 0)
        usage = found.setdefault(name, Usage(now, now))
        usage.last = now
        usage.peak = max(usage.peak, total[0] + beside[0])
        usage.private = max(usage.private, total[1] + beside[1])


def _stage(process: psutil.Process) -> str | None:
    """The NAME of a process that is `python -m stages.NAME`."""
    parts = [part for part in process.cmdline() if part.startswith("stages.")]
    return parts[0].removeprefix("stages.") if parts else None
