"""Experiments on a data set of Kaggle by real `dvc`: one download, no secret told, nothing lost."""

import json
import subprocess
import threading
from pathlib import Path

import psutil
import pytest

from tests.support.kaggle_server import (
    DOWNLOAD,
    FILES,
    SECRETS,
    TOKEN,
    VARIABLES,
    Fault,
    KaggleServer,
)
from tests.support.making import content, split_files, zip_bytes

from .test_queue import wait

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent.parent
KAGGLE = ["-S", "data.source=kaggle", "-S", "data.max_bad_fraction=0.5", "-S"]
# The stage is run by DVC as ever; this points the client at the server of the test.
POINT = f"""
import os, sys
if "stages.ingest" in sys.orig_argv:
    sys.path.append({str(ROOT)!r})
    from tests.support import kaggle_server
    kaggle_server.point_at(os.environ["SERVER_OF_THE_TEST"])
"""
SPOILT = {
    "train/real/empty.png": b"",
    "train/fake/page.jpg": b"<html></html>",
    "train/fake/text.jpg": b"text",
}


@pytest.fixture(scope="module")
def server():
    archive = zip_bytes({**split_files(20), **SPOILT})
    archives = {("some-one", "faces", 1): archive, ("some-one", "faces", 2): archive}
    with KaggleServer(archives) as running:
        yield running


@pytest.fixture(scope="module")
def environment(server, tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    (folder / "sitecustomize.py").write_text(POINT)
    (folder / "home").mkdir()
    (folder / "tmp").mkdir()
    return {
        **{name: "" for name in VARIABLES if "proxy" in name.lower()},
        "KAGGLE_API_TOKEN": TOKEN,
        "SERVER_OF_THE_TEST": server.url,
        "PYTHONPATH": str(folder),
        "HOME": str(folder / "home"),
        "TMPDIR": str(folder / "tmp"),
        "VERBOSE": "1",
    }


class Listing(threading.Thread):
    """The command lines of all processes, read again and again while something runs."""

    def __init__(self):
        super().__init__(daemon=True)
        self.lines, self.done = set(), threading.Event()

    def run(self):
        while not self.done.wait(0.05):
            for process in psutil.process_iter(["cmdline"]):
                self.lines.add(" ".join(process.info["cmdline"] or []))

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.done.set()
        self.join()


def test_queued_experiments_download_once_and_tell_no_secret(fresh_clone, server, environment):
    clone, printed = fresh_clone, []
    server.pace = 40_000
    # The first answer is an error with a page, so that there is something to tell.
    server.faults = [Fault(DOWNLOAD, status=503, body=b"<html>", content_type="text/html")]
    names = [f"kaggle-{number}" for number in range(2)]
    with Listing() as listing:
        for number, name in enumerate(names):
            change = [*KAGGLE, "data.kaggle.dataset=some-one/faces/1", "-S", f"seed={number}"]
            printed.append(
                clone.run("dvc", "exp", "run", "--queue", "-n", name, *change, "ingest",
                          **environment)
            )  # fmt: skip
        printed.append(clone.run("dvc", "queue", "start", "-v", "-j", "2", **environment))
        wait(clone, names, len(names))
        printed += [clone.run("dvc", "queue", "logs", name) for name in names]
        # A refusal, whose message ends up in the log.
        server.faults = [Fault(FILES, status=403)] * 2
        refused = ["-v", *KAGGLE, "data.kaggle.dataset=some-one/faces/2", "ingest"]
        printed.append(clone.run("dvc", "exp", "run", *refused, fails=True, **environment))
    assert len(server.paths(DOWNLOAD)) == 3  # a failure, a download, a refusal
    assert any("stages.ingest" in line for line in listing.lines)
    assert "status 403" in printed[-1]
    written = [clone.path, Path(environment["HOME"]), Path(environment["TMPDIR"])]
    told = [data for folder in written for data in content(folder).values()]
    told += [path.as_posix().encode() for folder in written for path in folder.rglob("*")]
    objects = ["git", "cat-file", "--batch-all-objects", "--batch"]
    told.append(subprocess.run(objects, cwd=clone.path, capture_output=True, check=True).stdout)
    told += [line.encode() for line in (*printed, *listing.lines)]
    everything = b"\n".join(told)
    assert b"some-one/faces" in everything
    assert b"status 503" in everything
    found = [secret for secret in SECRETS if secret.encode() in everything]
    assert found == []


def test_a_failed_ingest_loses_no_images(fresh_clone, server, environment):
    clone = fresh_clone
    server.pace, server.faults = None, []
    clone.set(
        data={
            "source": "kaggle",
            "kaggle": {"dataset": "some-one/faces/1"},
            "max_bad_fraction": 0.5,
        }
    )
    clone.run("dvc", "repro", "metadata", **environment)
    before = content(clone.path / "data/images")
    assert any(name.endswith(".parquet") for name in before)
    clone.set(data={"kaggle": {"dataset": "some-one/faces/3"}})
    assert "no such data set or version" in clone.run("dvc", "repro", fails=True, **environment)
    # DVC takes outputs away before a stage runs; it has them in its cache.
    clone.run("dvc", "checkout", "data/images")
    assert content(clone.path / "data/images") == before


def test_the_reasons_are_counted_in_the_metrics_and_in_the_run(fresh_clone):
    import mlflow

    data = json.loads((fresh_clone.path / "data/metadata/summary.json").read_text())
    assert data["bad"]["reasons"] == {"empty file": 1, "not an image": 2}
    assert data["near_duplicates"]["pairs"] == data["warnings"] == []
    client = mlflow.MlflowClient(f"sqlite:///{fresh_clone.path}/mlflow.db")
    experiment = client.get_experiment_by_name("deepfake-pipeline-stages").experiment_id
    run, *_ = client.search_runs([experiment], "tags.stage = 'ingest' and status = 'FINISHED'")
    assert run.data.metrics["bad"] == 3
    assert run.data.metrics["bad_because_empty_file"] == 1
    assert run.data.metrics["bad_because_not_an_image"] == 2
