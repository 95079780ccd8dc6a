"""A Ray cluster of several nodes on this machine, for benchmarks and tests."""

import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import mkdtemp

import psutil

from benchmarks.ports import free_port

_RAY = Path(sys.executable).with_name("ray")
_TOKEN = secrets.token_hex(32)  # one for all clusters: a process reads it once


class RayCluster:
    """Nodes on this machine; the first is the head.

    Args:
        cpus: processors that each node offers; Ray does not hold it to them.

    Attributes:
        environment: with which programs find the cluster and may use it.
    """

    def __init__(self, cpus: int) -> None:
        self._cpus, self._port = cpus, free_port()
        # Not pytest's folder: the paths of sockets in it would be too long.
        self._folder = Path(mkdtemp(prefix="ray-"))
        self.environment = {
            "RAY_ADDRESS": f"127.0.0.1:{self._port}",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": _TOKEN,
            "RAY_USAGE_STATS_ENABLED": "0",
        }

    def start(self, nodes: int) -> None:
        """Start so many nodes."""
        self._start("--head", "--port", str(self._port), "--include-dashboard=false",
                    "--temp-dir", str(self._folder))  # fmt: skip
        for _ in range(nodes - 1):
            self._start("--address", self.environment["RAY_ADDRESS"])

    def _start(self, *arguments: str) -> None:
        with open(self._folder / "started.log", "a+") as log:
            ended = subprocess.run(
                [str(_RAY), "start", f"--num-cpus={self._cpus}", "--object-store-memory=200000000",
                 "--node-ip-address=127.0.0.1", *arguments],
                env={**os.environ, **self.environment}, stdin=subprocess.DEVNULL,
                stdout=log, stderr=log,
            )  # fmt: skip
            log.seek(0)
            if ended.returncode:
                raise RuntimeError(log.read())

    def kill_node(self) -> None:
        """Kill the node that was started last, with all that it computes."""
        nodes = [one for one in self._processes() if one.name() == "raylet"]
        last = max(nodes, key=psutil.Process.create_time)
        for process in (last, *last.children(recursive=True)):
            _kill(process)

    def stop(self) -> None:
        for process in self._processes():
            _kill(process)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _processes(self) -> list[psutil.Process]:
        """What runs for the cluster, on any node."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if any(str(self._folder) in argument for argument in process.cmdline()):
                    found.append(process)
        return found


def _kill(process: psutil.Process) -> None:
    with suppress(psutil.NoSuchProcess):
        process.kill()


@contextmanager
def running(nodes: int = 2, cpus: int = 1) -> Iterator[RayCluster]:
    """Run a cluster in the block."""
    cluster = RayCluster(cpus)
    try:
        cluster.start(nodes)
        yield cluster
    finally:
        cluster.stop()
