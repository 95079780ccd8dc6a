"""What a command and the stages below it take: wall time, memory of the whole process tree."""

import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from deepfake.errors import PipelineError

INTERVAL = 0.05  # seconds between samples
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
    totals: dict[str, tuple[int, int]] = {}
    try:
        _add(psutil.Process(pid), COMMAND, totals)
    except psutil.Error:  # it has just ended
        return
    for name, (resident, private) in totals.items():
        usage = found.setdefault(name, Usage(now, now))
        usage.last = now
        usage.peak, usage.private = max(usage.peak, resident), max(usage.private, private)


def _add(process: psutil.Process, name: str, totals: dict[str, tuple[int, int]]) -> None:
    """Add a process to what it belongs to, and its children to the same unless they are a stage."""
    try:
        arguments, memory = process.cmdline(), process.memory_info()
        children = process.children()
    except psutil.Error:
        return
    stages = [part.removeprefix("stages.") for part in arguments if part.startswith("stages.")]
    name = stages[0] if stages else name
    resident, private = totals.get(name, (0, 0))
    shared = getattr(memory, "shared", 0)
    totals[name] = resident + memory.rss, private + memory.rss - shared
    for child in children:
        _add(child, name, totals)
