"""Open MLflow's page on the runs, until Ctrl+C: `make ui PORT=5000`."""

import argparse
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.request import ProxyHandler, build_opener

import psutil

from deepfake import params
from deepfake.common.address import uri
from deepfake.common.environment import repository
from deepfake.common.errors import PipelineError, command
from deepfake.tracking import page, store
from deepfake.tracking.failures import required
from deepfake.tracking.waiting import allow

_SECONDS_TO_START, _SECONDS_TO_STOP = 120, 10
_LOG = Path("cache") / "mlflow-ui.log"


@command
def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.ui", description=__doc__)
    parser.add_argument("--port", type=int, default=5000)
    port = parser.parse_args().port
    if uri().startswith("http"):
        raise PipelineError(
            "the runs are kept by the server that MLFLOW_TRACKING_URI names: open its page"
        )
    if not 1 <= port <= 65_535:
        raise PipelineError(f"PORT: received {port}; a port is a number from 1 to 65535")
    _require_free(port)
    with required():
        settings = params.load().tracking
        allow(settings.deadline_seconds)
        rows = store.experiments(settings.experiment)["model"]
    with suppress(KeyboardInterrupt), _server(port) as server:
        _wait(server, port)
        print(f"MLflow shows the runs at\n\n  http://localhost:{port}/{page.rows_address(rows)}\n")
        print("Ctrl+C ends it.", flush=True)
        server.wait()
        raise PipelineError(f"MLflow's page ended by itself; {_LOG} says why")


def _require_free(port: int) -> None:
    """Raise a `PipelineError` if another program listens at the port.

    It connects, where `serving.listening.listen` binds: macOS may let a program bind a port at
    which AirPlay listens.
    """
    with socket.socket() as tried:
        tried.settimeout(5)
        if tried.connect_ex(("127.0.0.1", port)) == 0:
            raise PipelineError(
                f"port {port} is taken by another program, perhaps by another `make ui`. "
                f"Choose another port: `make ui PORT={port + 1}`"
            )


@contextmanager
def _server(port: int) -> Iterator[psutil.Popen]:
    """Run MLflow's page in the block; all its processes have ended after it."""
    log = repository() / _LOG
    log.parent.mkdir(exist_ok=True)
    environment = {
        **os.environ,
        "MLFLOW_BACKEND_STORE_URI": uri(),  # not an argument: it may hold a password
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # eight processes that nothing here uses
    }
    command = [sys.executable, "-m", "mlflow", "ui", "--port", str(port), "--workers", "1"]
    with log.open("w") as output:
        server = psutil.Popen(command, env=environment, stdout=output, stderr=output)
    try:
        yield server
    finally:
        processes = [server]
        with suppress(psutil.NoSuchProcess):
            processes += server.children(recursive=True)
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.terminate()
        for process in psutil.wait_procs(processes, _SECONDS_TO_STOP)[1]:
            with suppress(psutil.NoSuchProcess):
                process.kill()


def _wait(server: psutil.Popen, port: int) -> None:
    """Return when the page answers."""
    directly = build_opener(ProxyHandler({}))  # a proxy does not know this machine's pages
    address = f"http://127.0.0.1:{port}/health"
    for _ in range(2 * _SECONDS_TO_START):
        with suppress(OSError), directly.open(address, timeout=5) as answer:
            if answer.status == 200:
                return
        if server.poll() is not None:
            break
        time.sleep(0.5)
    raise PipelineError(f"MLflow's page did not start; {_LOG} says why")


if __name__ == "__main__":
    main()
