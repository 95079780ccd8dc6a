"""Eight queued experiments, four at a time, on a clone whose store does not exist yet."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from urllib.request import urlopen

import mlflow
import pytest

pytestmark = pytest.mark.slow

CHANGES = {"train.weight_decay": ("0.002", "0.003"),
           "baseline.C": ("0.1", "0.2", "0.3", "0.4", "0.5", "0.6")}  # fmt: skip
SECONDS = 900


@pytest.fixture(scope="module")
def ready(computed_clone):
    return computed_clone


def queue(clone, prefix, **environment):
    """Queue the eight experiments and start four workers; returns what each one changes."""
    named = {}
    for key, values in CHANGES.items():
        stem = f"{prefix}-{key.partition('.')[0]}"
        clone.run("dvc", "exp", "run", "--queue", "-n", stem, "-S", f"{key}={','.join(values)}")
        named |= {f"{stem}-{number}": (key, v) for number, v in enumerate(values, start=1)}
    clone.run("dvc", "queue", "start", "-j", "4", **environment)
    assert len(named) == 8
    return named


def wait(clone, names, count):
    """Wait until so many of the experiments are done."""
    deadline = time.monotonic() + SECONDS
    states = {}
    while time.monotonic() < deadline:
        # DVC fails when it reads the file of an experiment that a worker is writing; the next
        # call answers.
        with suppress(AssertionError):
            lines = clone.run("dvc", "queue", "status").splitlines()
            states = {line.split()[1]: line.split()[-1] for line in lines if len(line.split()) > 3}
        assert "Failed" not in [states.get(name) for name in names]
        if sum(states.get(name) == "Success" for name in names) >= count:
            return
        time.sleep(3)
    raise TimeoutError(f"after {SECONDS} s: {states}")


def assert_rows(client, named):
    experiment = client.get_experiment_by_name("deepfake-pipeline")

    def search(filter_string):
        return client.search_runs([experiment.experiment_id], filter_string)

    assert not search("attributes.status = 'RUNNING'")
    for name, (key, value) in named.items():
        rows = search(f"tags.experiment = '{name}' and tags.current = 'true'")
        assert sorted(row.info.run_name for row in rows) == [
            f"baseline · {name}", f"image · {name}",
        ]  # fmt: skip
        assert {row.info.status for row in rows} == {"FINISHED"}
        changed = key.split(".")[0].replace("train", "image")
        row = next(r for r in rows if r.data.tags["row"] == changed)
        assert row.data.params[key] == value
        for row in rows:
            assert "test_roc_auc" in row.data.metrics
            assert len(row.outputs.model_outputs) == 1
            mlflow.set_tracking_uri(client.tracking_uri)
            for path in ("roc.png", row.data.tags["row"]):
                assert mlflow.artifacts.download_artifacts(f"runs:/{row.info.run_id}/{path}")
        images = search(f"tags.experiment = '{name}' and tags.row = 'image'")
        assert len(images) == 1


def test_queue_with_the_default_store(ready):
    names = queue(ready, "local")
    wait(ready, names, len(names))
    shown = ready.run("dvc", "exp", "show", "--csv")
    assert all(re.search(rf"\b{name}\b", shown) for name in names)
    # A changed baseline leaves the detector as it is, and this store does not have it yet.
    ready.run("python", "-m", "tools.sync")
    assert_rows(mlflow.MlflowClient(f"sqlite:///{ready.path}/mlflow.db"), names)


class Server:
    """A real MLflow server with a store of its own, that can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", "--port", str(self.port), "--workers", "1",
             "--backend-store-uri", f"sqlite:///{self.folder}/server.db",
             "--artifacts-destination", str(self.folder / "artifacts")],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            with suppress(OSError), urlopen(f"{self.address}/health", timeout=5) as answer:
                if answer.status == 200:
                    return
            time.sleep(0.5)
        raise TimeoutError("the server did not start")

    def kill(self) -> None:
        with suppress(ProcessLookupError):  # a test that failed has killed it already
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture
def server(tmp_path):
    server = Server(tmp_path)
    server.start()
    yield server
    server.kill()


def test_queue_with_a_server_that_is_killed_half_way(ready, server):
    # Else DVC would restore what the test before made.
    ready.run("dvc", "queue", "remove", "--all")
    for name in ready.refs():
        ready.run("dvc", "exp", "remove", name)
    shutil.rmtree(ready.path / ".dvc/cache/runs")
    ready.run("dvc", "commit", "-f")
    names = queue(ready, "served", MLFLOW_TRACKING_URI=server.address)
    wait(ready, names, 2)
    server.kill()
    wait(ready, names, 5)
    server.start()
    wait(ready, names, len(names))
    ready.run("python", "-m", "tools.sync", MLFLOW_TRACKING_URI=server.address)
    assert_rows(mlflow.MlflowClient(server.address), names)
    printed = ready.run("python", "-m", "tools.sync", MLFLOW_TRACKING_URI=server.address)
    assert "every experiment has its two rows" in printed
