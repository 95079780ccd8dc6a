"""What a command and the stages below it take: wall time, memory of the whole process tree."""

import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from deepfake.common.errors import PipelineError
from tools import clones, shell

INTERVAL = 0.1  # seconds between samples
COMMAND = "command"  # the name of what is not part of a stage: `dvc` itself


@dataclass
class Usage:
    """Of one stage and all its child processes, as far as samples tell.

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
    shell.run(*command, folder=cwd, environment=clones.environment())
    return time.perf_counter() - start


def watch(command: list[str], cwd: Path, environment: dict[str, str]) -> dict[str, Usage]:
    """Run a command; returns the usage of each `python -m stages.NAME` below it by NAME, and that
    of everything else as `COMMAND`, whose `seconds` are the whole wall time.

    Raises:
        PipelineError: it failed, with the end of what it printed.
    """
    found: dict[str, Usage] = {}
    log = cwd / "cache" / "command.log"
    log.parent.mkdir(exist_ok=True)
    with open(log, "wb") as output:
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
                _sample(process.pid, time.perf_counter() - start, found)
                continue
            break
        found[COMMAND].last = time.perf_counter() - start
    if process.returncode:
        raise PipelineError(f"{' '.join(command)} failed:\n{log.read_text()[-3000:]}")
    return found


def _sample(pid: int, now: float, found: dict[str, Usage]) -> None:
    """Add what the processes below `pid`, and itself, use at this moment."""
    totals: dict[str, tuple[int, int]] = {}
    names: dict[int, str] = {}
    with suppress(psutil.Error):  # the command has just ended
        command = psutil.Process(pid)
        # Parents come before their children.
        for process in [command, *command.children(recursive=True)]:
            with suppress(psutil.Error):
                name = _stage(process) or names.get(process.ppid(), COMMAND)
                names[process.pid] = name
                memory = process.memory_info()
                resident, private = totals.get(name, (0, 0))
                shared = getattr(memory, "shared", 0)
                totals[name] = resident + memory.rss, private + memory.rss - shared
    for name, (resident, private) in totals.items():
        usage = found.setdefault(name, Usage(now, now))
        usage.last = now
        usage.peak = max(usage.peak, resident)
        usage.private = max(usage.private, private)


def _stage(process: psutil.Process) -> str | None:
    """The NAME of a process that is `python -m stages.NAME`."""
    parts = [part for part in process.cmdline() if part.startswith("stages.")]
    return parts[0].removeprefix("stages.") if parts else None
