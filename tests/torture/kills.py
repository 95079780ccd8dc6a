"""Stop whole runs of the pipeline at random moments.

A clone with a small sample starts from nothing. Each attempt of `dvc repro` is stopped at a random
moment, and the next one goes on from there, until one gets through. It has to end as a run does
that nobody disturbs.
"""

import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO

import psutil

from tests.pipeline.conftest import Clone, shrunk

# To all processes of the run, as a terminal, a cluster's scheduler or a shutdown sends them.
SIGNALS = {"SIGKILL": signal.SIGKILL, "SIGTERM": signal.SIGTERM, "SIGINT": signal.SIGINT}
FINE_TUNED = {"fine_tune": {"epochs": 1, "from_layer": "block_4_expand"}}
# Seconds in which all processes of a run have to be gone.
GONE = 120


@dataclass(frozen=True)
class Kill:
    """A run stopped: in which stage (or `dvc`, between stages), and by which signal."""

    stage: str
    signal: str
    seconds: float  # after the start of its `dvc repro`


def small(path: Path) -> Clone:
    """A clone whose whole pipeline, fine-tuning included, takes about a minute."""
    clone = shrunk(path)
    clone.set(train=FINE_TUNED)
    return clone


def torment(place: Path, lock: bytes, kills: int, seed: int, longest: float) -> Iterator[Kill]:
    """Stop runs in clones in the folder `place`, and see how each clone ends.

    Args:
        lock: the `dvc.lock` that each has to end with.
        longest: seconds after which an attempt is stopped at the latest.

    Yields:
        Each of the `kills`, when it is done.
    """
    rng = random.Random(seed)
    number = 0
    while number < kills:
        clone = small(place / f"after {number} kills")
        for kill in islice(_attempts(clone, rng, longest), kills - number):
            number += 1
            yield kill
        finish(clone, lock)
        shutil.rmtree(clone.path)


def finish(clone: Clone, lock: bytes) -> None:
    """Run the pipeline to its end.

    Raises:
        AssertionError: it ends otherwise than a run that nobody disturbed.
    """
    clone.run("dvc", "repro")
    assert (clone.path / "dvc.lock").read_bytes() == lock
    assert clone.run("dvc", "status").strip().endswith("up to date.")
    assert runs(clone, "attributes.status = 'RUNNING'") == []
    current = runs(clone, "tags.current = 'true'")
    assert sorted(run.data.tags["row"] for run in current) == ["baseline", "image"]


def runs(clone: Clone, condition: str) -> list:
    """The runs in a clone's MLflow store that fulfil a condition."""
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{clone.path}/mlflow.db")
    ids = [experiment.experiment_id for experiment in client.search_experiments()]
    return list(client.search_runs(ids, condition))


def _attempts(clone: Clone, rng: random.Random, longest: float) -> Iterator[Kill]:
    """Start `dvc repro` and stop it, again and again, until it gets through."""
    while True:
        name, seconds = rng.choice(list(SIGNALS)), rng.uniform(0, longest)
        stage = _stopped(clone, name, seconds)
        if stage is None:
            return
        yield Kill(stage, name, seconds)


def _stopped(clone: Clone, name: str, seconds: float) -> str | None:
    """Stop a run after so many seconds; returns the stage that ran, None if the run had ended.

    Raises:
        AssertionError: the run failed by itself, or something of it lives on.
    """
    with tempfile.TemporaryFile("w+") as printed, _started(clone, printed) as run:
        try:
            run.wait(seconds)
        except subprocess.TimeoutExpired:
            stage = _stage(run.pid)
            os.killpg(run.pid, SIGNALS[name])
            _assert_gone(run.pid, f"{name} in {stage}")
            return stage
        printed.seek(0)
        assert run.returncode == 0, printed.read()
        return None


@contextmanager
def _started(clone: Clone, printed: IO[str]) -> Iterator[subprocess.Popen]:
    """`dvc repro` in a session of its own, of which nothing is left after the block."""
    with subprocess.Popen(
        ["dvc", "repro"], cwd=clone.path, env=clone.environment(), stdin=subprocess.DEVNULL,
        stdout=printed, stderr=subprocess.STDOUT, start_new_session=True,
        # Programs in the background ignore Ctrl-C, and so would what they start.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as run:  # fmt: skip
        try:
            yield run
        finally:
            for process in _processes(run.pid):
                process.kill()


def _stage(session: int) -> str:
    """The stage that runs in a session; `dvc` if none does."""
    for process in _processes(session):
        for argument in process.cmdline():
            if argument.startswith("stages."):
                return argument.removeprefix("stages.")
    return "dvc"


def _assert_gone(session: int, after: str) -> None:
    """All processes of a session end soon."""
    deadline = time.monotonic() + GONE
    while left := _processes(session):
        assert time.monotonic() < deadline, f"left {GONE} s after {after}: {left}"
        time.sleep(0.05)


def _processes(session: int) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            same = os.getsid(process.pid) == session
            if same and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (ProcessLookupError, psutil.Error):
            continue
    return found
