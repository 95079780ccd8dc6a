"""Queued experiments, four at a time: on a clone whose store does not exist yet; and eight from two
clones on an MLflow server with PostgreSQL and S3, both killed half way."""

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from urllib.request import urlopen

import mlflow
import pytest

from benchmarks.ports import free_port
from tests.support import postgres, s3_server
from tests.support.postgres import Postgres

pytestmark = pytest.mark.slow

CHANGES = {"train.weight_decay": ("0.002", "0.003"),
           "baseline.C": ("0.1", "0.2", "0.3", "0.4", "0.5", "0.6")}  # fmt: skip
SECONDS = 900


def queue(clone, prefix, changes=CHANGES, workers=4, **environment):
    """Queue the experiments and start workers; returns what each one changes."""
    named = {}
    for key, values in changes.items():
        stem = f"{prefix}-{key.partition('.')[0]}"
        clone.run("dvc", "exp", "run", "--queue", "-n", stem, "-S", f"{key}={','.join(values)}")
        named |= {f"{stem}-{number}": (key, v) for number, v in enumerate(values, start=1)}
    clone.run("dvc", "queue", "start", "-j", str(workers), **environment)
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


def test_queue_with_the_default_store(computed_clone):
    names = queue(computed_clone, "local", {"baseline.C": CHANGES["baseline.C"][:4]})
    assert len(names) == 4
    wait(computed_clone, names, len(names))
    shown = computed_clone.run("dvc", "exp", "show", "--csv")
    assert all(re.search(rf"\b{name}\b", shown) for name in names)
    # A changed baseline leaves the detector as it is, and this store does not have it yet.
    computed_clone.run("python", "-m", "tools.sync")
    assert_rows(mlflow.MlflowClient(f"sqlite:///{computed_clone.path}/mlflow.db"), names)


class Server:
    """A real MLflow server, with a database and S3, that can be killed and started again.

    Args:
        folder: for its files.
        database: None: SQLite.
        s3: with the bucket `mlflow`.
    """

    def __init__(self, folder: Path, database: Postgres | None, s3: s3_server.S3) -> None:
        self.folder, self.database, self.s3 = folder, database, s3
        self.port = free_port()
        self.address = f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        store = self.database.address if self.database else f"sqlite:///{self.folder}/server.db"
        keys = s3_server.environment(self.s3.address, self.folder)
        log = open(self.folder / "server.log", "ab")  # noqa: SIM115
        self.process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", "--port", str(self.port), "--workers", "1",
             "--backend-store-uri", store, "--artifacts-destination", "s3://mlflow/artifacts"],
            stdout=log, stderr=log, start_new_session=True,
            env={**os.environ, **keys, "MLFLOW_S3_ENDPOINT_URL": self.s3.address},
        )  # fmt: skip
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            with suppress(OSError), urlopen(f"{self.address}/health", timeout=5) as answer:
                if answer.status == 200:
                    return
            time.sleep(0.5)
        raise TimeoutError((self.folder / "server.log").read_text()[-3000:])

    def kill(self) -> None:
        with suppress(ProcessLookupError):  # a test that failed has killed it already
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture(params=["SQLite", "PostgreSQL"])
def server(request, tmp_path):
    if (request.param == "SQLite") == (postgres.programs() is not None):
        pytest.skip("the server has PostgreSQL where that is installed, else SQLite")
    database = Postgres() if request.param == "PostgreSQL" else None
    with s3_server.serving() as s3:
        s3.put({}, "mlflow")
        server = Server(tmp_path, database, s3)
        server.start()
        yield server
        server.kill()
    if database:
        database.remove()


@pytest.mark.exhaustive
def test_two_clones_and_a_server_that_is_killed_half_way(computed, server, tmp_path):
    first, second = computed.copied(tmp_path / "first"), computed.copied(tmp_path / "second")
    some, others = ({key: values} for key, values in CHANGES.items())
    environment = {"MLFLOW_TRACKING_URI": server.address}
    named = queue(first, "first", some, workers=2, **environment)
    named_too = queue(second, "second", others, workers=2, **environment)
    wait(second, named_too, 2)
    server.kill()
    if server.database:
        server.database.kill()
    wait(second, named_too, 5)
    if server.database:
        server.database.start()
    server.start()
    for clone, names in ((first, named), (second, named_too)):
        wait(clone, names, len(names))
        clone.run("python", "-m", "tools.sync", **environment)
        printed = clone.run("python", "-m", "tools.sync", **environment)
        assert "every experiment has its two rows" in printed
        for secret in (s3_server.SECRET, postgres.PASSWORD):
            outside = ("--exclude-dir=tests", "--exclude-dir=.git")  # where it is written down
            assert clone.run("grep", "-rlF", secret, ".", *outside, fails=True) == ""
    assert len(named | named_too) == 8
    assert_rows(mlflow.MlflowClient(server.address), named | named_too)
