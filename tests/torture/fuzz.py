"""Feed inputs that nobody thought of to what reads them, within bounds of time and memory.

Each target is fed in a process of its own, so that one that hangs, crashes or takes all memory
stops nothing else: `python -m tests.torture.fuzz NAME`. The input in use always stands in a file,
which stays when the process fails.
"""

import argparse
import faulthandler
import gc
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tracemalloc
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
from hypothesis import HealthCheck, Phase, Verbosity, given, seed, settings

from deepfake.common.progress import bar
from tests.support.memory import peak
from tests.torture.files import FILES
from tests.torture.servers import SERVERS
from tests.torture.targets import INPUT, ROOT, Target, Use
from tests.torture.watch import Watch

TARGETS = {target.name: target for target in [*FILES, *SERVERS]}
# Hypothesis becomes slow with many examples in one go.
CHUNK = 1000
# Of the inputs, so many are used again and again to see whether memory is kept.
KEPT, ROUNDS, FIRST = 100, 6, 2
# Bytes that may stay, of Python's own and of the process.
LEAK, RESIDENT = 50e3, 8e6


@dataclass(frozen=True)
class Figures:
    """What the inputs of one target took."""

    target: str
    inputs: int
    seconds: float  # all of them
    slowest: float  # seconds of one input
    megabytes: float  # by which the process grew at most


class Failed(Exception):
    """An input did what it may not; the message says which, and where it is kept."""


def fuzz(name: str, inputs: int, random_seed: int, keep: Path) -> Figures:
    """Feed a target in a process of its own.

    Args:
        inputs: how many; a target that takes long gets its share of them.
        keep: where the input goes with which the process failed.

    Raises:
        Failed: the process did not end well.
    """
    number = round(inputs * TARGETS[name].share)
    with tempfile.TemporaryDirectory() as folder:
        room, figures = Path(folder) / "room", Path(folder) / "figures.json"
        room.mkdir()
        done = subprocess.run(
            [
                sys.executable, "-m", __name__, name, "--inputs", str(number),
                "--seed", str(random_seed), "--room", room, "--figures", figures,
            ],
            cwd=ROOT, check=False,
        )  # fmt: skip
        if done.returncode == 0:
            return Figures(**json.loads(figures.read_text()))
        kept = keep / f"{name}-{random_seed}.input"
        keep.mkdir(parents=True, exist_ok=True)
        if (room / INPUT).exists():
            shutil.copy(room / INPUT, kept)
    raise Failed(
        f"{name}, seed {random_seed}: exit status {done.returncode}; the reason is printed above. "
        f"Again: python -m tests.torture.fuzz {name} --input {kept}"
    )


class Feeding:
    """The inputs of one target, one after another, in this process."""

    def __init__(self, target: Target, use: Use, room: Path) -> None:
        self.target, self.use = target, use
        self._file = os.open(room / INPUT, os.O_RDWR | os.O_CREAT)
        self.count, self.slowest, self._every = 0, 0.0, 1
        self.kept: list[bytes] = []
        self._watch = Watch(room if target.writes else None, target.secret)
        self._armed = 0.0
        self._started, self._before = time.monotonic(), peak()

    def feed(self, inputs: int, random_seed: int) -> None:
        """Make inputs and use each; some of them are kept."""
        self._every = max(1, inputs // KEPT)
        with bar(inputs, self.target.name, "inputs") as progress:
            while self.count < inputs:
                chunk = self._chunk(min(CHUNK, inputs - self.count), progress.update)
                seed(random_seed * 10**9 + self.count)(chunk)()

    def _chunk(self, number: int, counted: Callable[[], object]) -> Callable[[], None]:
        @settings(
            max_examples=number, deadline=None, database=None, report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck), phases=[Phase.generate],
            verbosity=Verbosity.quiet,
        )  # fmt: skip
        @given(self.target.inputs())
        def each(data: bytes) -> None:
            self.one(data)
            self.count += 1
            if self.count % self._every == 0:
                self.kept.append(data)
            counted()

        return each

    def one(self, data: bytes) -> None:
        """Use one input, within its bounds."""
        os.truncate(self._file, 0)
        os.pwrite(self._file, data, 0)
        started = time.monotonic()
        if started > self._armed + 1:  # this takes longer than most inputs
            # What hangs, in Python or in C, ends the process, and says where it hung.
            faulthandler.dump_traceback_later(self.target.seconds, exit=True)
            self._armed = started
        with self._watch():
            self.use(data)
        self.slowest = max(self.slowest, time.monotonic() - started)
        assert self.megabytes() < self.target.megabytes, f"{self.megabytes():.0f} MB were taken"

    def figures(self) -> Figures:
        """What it took so far."""
        seconds = time.monotonic() - self._started
        return Figures(self.target.name, self.count, seconds, self.slowest, self.megabytes())

    def megabytes(self) -> float:
        """By how much the process has grown at most."""
        return peak() - self._before

    def again(self) -> None:
        """Use some inputs again and again, which must not need more memory."""
        tracemalloc.start()
        resident, own = [], []
        for _ in range(ROUNDS):
            for data in self.kept:
                self.one(data)
            gc.collect()
            resident.append(psutil.Process().memory_info().rss)
            own.append(tracemalloc.get_traced_memory()[0])
        tracemalloc.stop()
        # The first rounds fill caches and the allocator's pools.
        assert own[-1] - own[FIRST] < LEAK, own
        assert resident[-1] - resident[FIRST] < RESIDENT, resident


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.torture.fuzz", description=__doc__)
    parser.add_argument("name", choices=TARGETS)
    parser.add_argument("--input", type=Path, help="use this one input")
    parser.add_argument("--inputs", type=int, help="make so many and use them")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--room", type=Path, help="an empty folder to work in")
    parser.add_argument("--figures", type=Path, help="where to write what it took, as JSON")
    arguments = parser.parse_args()
    target = TARGETS[arguments.name]
    one = arguments.input and arguments.input.read_bytes()
    room = Path(arguments.room or tempfile.mkdtemp()).resolve()
    os.chdir(room)
    warnings.simplefilter("ignore")
    with target.opened(room) as use:
        feeding = Feeding(target, use, room)
        if one is not None:
            feeding.one(one)
        else:
            feeding.feed(arguments.inputs, arguments.seed)
        figures = feeding.figures()
        print(figures)
        # What talks to a server keeps connections.
        if not target.writes:
            feeding.again()
    if arguments.figures:
        arguments.figures.write_text(json.dumps(asdict(figures)))


if __name__ == "__main__":
    main()
