"""`make torture` in small: its inputs, and that it sees what it is for."""

import faulthandler
import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import strategies as st

from tests.support.memory import peak
from tests.torture import fuzz
from tests.torture.targets import Target
from tests.torture.watch import Watch

INPUTS, SEED = 2000, 20261127
pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", fuzz.TARGETS)
def test_inputs(name: str, tmp_path: Path) -> None:
    figures = fuzz.fuzz(name, INPUTS, SEED, tmp_path)
    assert figures.inputs == INPUTS * fuzz.TARGETS[name].share


def test_what_an_input_may_not_do_is_seen(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "secret.txt").touch()
    nothing, inside = Watch(), Watch(tmp_path / "room", "secret.txt")
    (tmp_path / "room").mkdir()
    for watch, act in (
        (nothing, lambda: (tmp_path / "x").write_bytes(b"")),
        (nothing, lambda: (tmp_path / "room/y").mkdir()),
        (nothing, lambda: os.system("true")),
        (inside, lambda: os.system("true")),
        (inside, lambda: (tmp_path / "room/../x").write_bytes(b"")),
        (inside, lambda: (tmp_path / "outside").rmdir()),
        (inside, lambda: (tmp_path / "secret.txt").read_bytes()),
    ):
        with pytest.raises(AssertionError, match="forbidden"), watch():
            act()
    with nothing():
        struct.pack("<I", 1)
    with inside():
        (tmp_path / "room" / "x").write_bytes(b"")


@pytest.fixture(autouse=True)
def disarmed() -> Iterator[None]:
    """What `Feeding` has armed would end the tests' process a minute later."""
    yield
    faulthandler.cancel_dump_traceback_later()


def target(seconds: float = 60.0) -> Target:
    return Target("test", st.binary, lambda folder: NotImplemented, seconds=seconds, megabytes=100)


def test_an_input_that_takes_too_much_memory_is_seen(tmp_path: Path) -> None:
    used: list[bytearray] = []
    # More than this process has had so far.
    size = int(peak() * 1e6) + 200_000_000
    feeding = fuzz.Feeding(target(), lambda data: used.append(bytearray(b"x") * size), tmp_path)
    with pytest.raises(AssertionError, match="MB were taken"):
        feeding.one(b"input")


def test_an_input_that_hangs_ends_the_process_and_is_kept(tmp_path: Path) -> None:
    code = """
import time
from collections.abc import Iterator
from pathlib import Path
from tests.torture import fuzz
from tests.torture.test_fuzz import target
fuzz.Feeding(target(seconds=0.5), lambda data: time.sleep(600), Path.cwd()).one(b"slow")
"""
    environment = {**os.environ, "PYTHONPATH": str(fuzz.ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "Timeout" in done.stderr
    assert (tmp_path / "input").read_bytes() == b"slow"


def test_a_fault_is_told_with_the_input_and_how_to_provoke_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        (Path(command[command.index("--room") + 1]) / "input").write_bytes(b"bad")
        return subprocess.CompletedProcess(command, 1)

    monkeypatch.setattr(subprocess, "run", fails)
    with pytest.raises(fuzz.Failed, match=r"images, seed 7: .*fuzz images --input"):
        fuzz.fuzz("images", 10, 7, tmp_path / "kept")
    assert (tmp_path / "kept" / "images-7.input").read_bytes() == b"bad"
