"""The command that runs the service, and how it ends."""

import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from benchmarks import load
from deepfake.serving import serve


def test_a_port_in_use_is_told_in_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setattr("sys.argv", ["serve", "--port", str(port)])
        with pytest.raises(SystemExit) as ended:
            serve.main()
    assert ended.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: port {port} is taken by another program")


@pytest.mark.parametrize("port", ["70000", "-1"])
def test_a_port_that_is_none(
    port: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["serve", "--port", port])
    with pytest.raises(SystemExit):
        serve.main()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: cannot listen at 127.0.0.1, port {port}: ")


@pytest.mark.slow
def test_it_answers_until_it_is_interrupted(
    exported: Path, python: Callable[..., tuple[list[str], dict[str, str]]]
) -> None:
    _, environment = python("")
    command = [sys.executable, "-m", "deepfake.serving.serve", "--model", str(exported)]
    with subprocess.Popen(
        [*command, "--port", "0"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stdout is not None
        address = server.stdout.readline().split()[-1].removesuffix("/docs")
        assert httpx.get(f"{address}/health").json() == {"status": "ok"}
        server.send_signal(signal.SIGINT)
        _, errors = server.communicate(timeout=60)
        assert (server.returncode, errors) == (0, "")


@pytest.mark.slow
def test_the_load_is_reported(
    exported: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["load", "--model", str(exported), "--seconds", "2"])
    load.main()
    told = capsys.readouterr().out
    assert "good 200: " in told
    assert "p99" in told
