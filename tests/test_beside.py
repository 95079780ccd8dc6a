"""Processes beside the stages: shared by those of one command, and by nobody else."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from deepfake import beside
from deepfake.errors import PipelineError

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are copied on Linux")

# A stage: who serves it, where, and with which environment. It holds a lock while it runs, and one
# of its packages adds to the environment.
STAGE = """
import fcntl, json, os, signal, sys, time
from deepfake import beside
os.environ["BY_A_PACKAGE"] = str(os.getpid())
lock = open(sys.argv[1], "w")
fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
with beside.prepared(["fractions"]) as call:
    call(os.write, 2, b"words\\n")
    found = [call(os.getpid), call(os.getcwd), call(os.getenv, "DVC_EXP_NAME")]
    time.sleep(float(os.environ.get("WAIT", 0)))
    if "KILL" in os.environ:
        os.kill(found[0], signal.SIGKILL)
        found.append(call(os.getpid) == os.getpid())
print(json.dumps([os.getpid(), *found]))
"""
# What runs the stages as `dvc` does, each with changes to its environment, in turn or together.
COMMAND = """
import json, os, subprocess, sys
stage, together, lock, *changes = sys.argv[1:]
running = []
for number, change in enumerate(map(json.loads, changes)):
    folder = change.pop("folder", ".")
    own = f"{lock}{number}" if together == "yes" else lock
    process = subprocess.Popen(
        [sys.executable, "-c", stage, own], env={**os.environ, **change}, cwd=folder,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )
    running.append(process)
    if together == "no":
        process.wait()
for process in running:
    out, errors = process.communicate()
    print(json.dumps([*json.loads(out), errors.decode()]))
"""


@pytest.fixture
def stages(
    tmp_path: Path, python: Callable[..., tuple[list[str], dict[str, str]]]
) -> Callable[..., list[list[Any]]]:
    """What stages of one command found: `stages({name: value, …}, …, together=False)`."""

    def call(*changes: dict[str, str], together: bool = False) -> list[list[Any]]:
        texts = [json.dumps({"DVC_STAGE": "any", **change}) for change in changes]
        command, environment = python(
            COMMAND, STAGE, "yes" if together else "no", tmp_path / "lock", *texts
        )
        done = subprocess.run(
            command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=True
        )
        return [json.loads(line) for line in done.stdout.splitlines()]

    return call


def gone(pid: int) -> bool:
    """Whether a process ends within some seconds."""
    for _ in range(100):
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.1)
    return False


def test_stages_of_one_command_share_a_process_that_ends_with_it(
    stages: Callable[..., list[list[Any]]], tmp_path: Path
) -> None:
    first, second = stages({"DVC_EXP_NAME": "one"}, {"DVC_EXP_NAME": "two"})
    assert first[1] == second[1]
    assert first[1] not in (first[0], second[0])
    assert [first[2:], second[2:]] == [
        [str(tmp_path), "one", "words\n"],
        [str(tmp_path), "two", "words\n"],
    ]
    assert gone(first[1])


def test_another_command_has_another_process(stages: Callable[..., list[list[Any]]]) -> None:
    assert stages({})[0][1] != stages({})[0][1]


@pytest.mark.parametrize("change", [{"MLFLOW_TRACKING_URI": "http://there"}, {"folder": "/"}])
def test_other_surroundings_have_another_process(
    stages: Callable[..., list[list[Any]]], change: dict[str, str]
) -> None:
    first, second = stages({}, change)
    assert first[1] != second[1]


def test_stages_side_by_side_do_not_wait_for_each_other(
    stages: Callable[..., list[list[Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAIT", "4")
    found = stages({}, {}, {}, together=True)
    assert len({pid for pid, *_ in found}) == len({served for _, served, *_ in found}) == 3


def test_a_killed_process_is_done_without_and_replaced(
    stages: Callable[..., list[list[Any]]],
) -> None:
    first, second = stages({"KILL": "it"}, {})
    assert first[4] is True
    assert second[1] not in (first[1], second[0])


def test_without_dvc_the_process_ends_with_its_stage(
    tmp_path: Path, python: Callable[..., tuple[list[str], dict[str, str]]]
) -> None:
    command, environment = python(STAGE, tmp_path / "lock")
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    stage, served, *_ = json.loads(done.stdout)
    assert served != stage
    assert not psutil.pid_exists(served)


# A stage that prepares for the next one, and one that finds it done.
SOON = """
import time
from deepfake import beside
with beside.preparing(["fractions"]):
    time.sleep(2)
"""
LATER = """
import json, os
from deepfake import beside
with beside.prepared([]) as call:
    print(json.dumps([call(os.getpid), call(eval, "'fractions' in __import__('sys').modules")]))
"""


def test_a_stage_prepares_for_the_next_one_of_its_command_alone(
    tmp_path: Path, python: Callable[..., tuple[list[str], dict[str, str]]]
) -> None:
    code = f"""
import subprocess, sys
for stage in ({SOON!r}, {LATER!r}):
    print(subprocess.run([sys.executable, "-c", stage], capture_output=True, text=True).stdout)
"""

    def found(**variables: str) -> bool:
        command, environment = python(code, **variables)
        done = subprocess.run(
            command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=True
        )
        pid, imported = json.loads(done.stdout)
        assert gone(pid)
        return bool(imported)

    assert found(DVC_STAGE="any")
    assert not found()


def test_what_a_function_raises_is_raised() -> None:
    with beside.prepared([]) as call:
        assert call(sorted, [2, 1]) == [1, 2]
        with pytest.raises(PipelineError, match="no luck"):
            call(_unlucky)
        assert call(len, "abc") == 3


def _unlucky() -> None:
    raise PipelineError("no luck")
