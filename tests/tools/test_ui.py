"""`make ui` with MLflow's real server."""

import os
import signal
import socket
import subprocess
import sys
import urllib.request
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def start(tmp_path):
    """Starts `python -m tools.ui` in a repository that holds nothing but parameters."""
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    known = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "DVC_"))}
    running = []

    def starting(port, **environment):
        process = subprocess.Popen(
            [sys.executable, "-m", "tools.ui", "--port", str(port)],
            cwd=tmp_path,
            env={**known, "PYTHONPATH": str(ROOT), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        running.append(process)
        return process

    yield starting
    for process in running:
        with suppress(ProcessLookupError):  # what a failed test leaves
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@pytest.fixture
def taken():
    """A port at which something listens."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


def test_a_port_that_is_taken_is_named_with_another_one(start, taken):
    process = start(taken)
    printed, _ = process.communicate(timeout=300)
    assert process.returncode == 1
    assert f"port {taken} is taken" in printed
    assert f"`make ui PORT={taken + 1}`" in printed
    assert "Traceback" not in printed


def test_a_port_that_is_none_is_refused(start):
    process = start(99_999)
    printed, _ = process.communicate(timeout=300)
    assert process.returncode == 1
    assert "PORT: received 99999; a port is a number from 1 to 65535" in printed


def test_the_page_of_a_server_is_not_started_here(start):
    process = start(5000, MLFLOW_TRACKING_URI="http://user:secret@127.0.0.1:9")
    printed, _ = process.communicate(timeout=300)
    assert process.returncode == 1
    assert "the server that MLFLOW_TRACKING_URI names" in printed
    assert "secret" not in printed


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_page_answers_when_its_address_is_printed_and_ctrl_c_leaves_nothing(start, number):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]  # free once the block has ended
    process = start(port, http_proxy="http://127.0.0.1:9")  # does not know this machine's pages
    printed = ""
    while "Ctrl+C" not in printed:
        line = process.stdout.readline()
        assert line, printed
        printed += line
    assert f"http://localhost:{port}/#/experiments/1/runs?workflowType=machine_learning" in printed
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/") as answer:
        assert answer.status == 200
    family = psutil.Process(process.pid).children(recursive=True)
    assert family
    os.kill(process.pid, number)
    rest, _ = process.communicate(timeout=300)
    assert (process.returncode, rest) == (0, "")
    assert not [child for child in family if child.is_running()]
