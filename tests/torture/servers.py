"""What comes from outside to tracking: a server's answers, and the records kept in the outbox."""

import io
import json
import os
import shutil
import sys
import tempfile
import threading
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from deepfake import params
from deepfake.common.errors import PipelineError
from deepfake.tracking import outbox, page, record
from deepfake.tracking.failures import required
from deepfake.tracking.run import start_run
from tests.torture.targets import ROOT, Opened, Target, spoilt

SETTINGS = params.load(ROOT / "params.yaml").tracking  # best_effort
PASSWORD, SECRET = "marked-password", "secret.txt"
ORIGIN = {"experiment": "workspace", "repository": "here:/faces", "process": "here 1 1"}
TAGS = {"kind": "model", "stage": "train", "row": "image", **ORIGIN}


def _listed(tags: dict[str, str]) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in tags.items()]


# One answer to every request: a client takes the fields that it asked for.
_RUN = {
    "info": {
        "run_id": "a" * 32, "run_uuid": "a" * 32, "experiment_id": "1", "run_name": "image",
        "status": "FINISHED", "start_time": 1, "lifecycle_stage": "active",
        "artifact_uri": f"mlflow-artifacts:/1/{'a' * 32}/artifacts",
    },
    "data": {"tags": _listed(TAGS)},
    "inputs": {"dataset_inputs": [{
        "dataset": {"name": "train", "digest": "aa", "source_type": "code", "source": "{}"},
        "tags": [{"key": "mlflow.data.context", "value": "train"}],
    }]},
    "outputs": {"model_outputs": []},
}  # fmt: skip
RIGHT = {
    "experiment": {
        "experiment_id": "1", "name": SETTINGS.experiment, "lifecycle_stage": "active",
        "tags": _listed(page.experiment_tags(SETTINGS.experiment, "model")),
        "artifact_location": "mlflow-artifacts:/1",
    },
    "experiment_id": "1",
    "run": _RUN,
    "runs": [_RUN],
    "model": {"info": {
        "model_id": "m-1", "experiment_id": "1", "name": "image", "status": "LOGGED_MODEL_READY",
        "artifact_uri": "mlflow-artifacts:/1/models/m-1/artifacts",
    }},
}  # fmt: skip


class Server:
    """An MLflow server that takes everything and keeps nothing, with one answer spoilt."""

    def __init__(self) -> None:
        outer = self
        self._requests, self._head, self._body = 0, {"at": -1}, b""

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def answer(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                with suppress(OSError):
                    self.wfile.write(outer.next_answer())
                    self.close_connection = True

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer

            def log_message(self, *_: Any) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._http.serve_forever, daemon=True).start()
        self.address = f"http://user:{PASSWORD}@127.0.0.1:{self._http.server_port}"

    def spoil(self, data: bytes = b'{"at": -1}\n') -> None:
        """Answer one of the next requests as `data` says, which `_answers` makes; or none."""
        from mlflow.tracking._tracking_service import utils

        # The client remembers where the files of a run are, and all runs have one name here.
        utils._artifact_repos_cache.clear()
        head, _, self._body = data.partition(b"\n")
        self._requests, self._head = 0, json.loads(head)

    def next_answer(self) -> bytes:
        """The bytes of the answer to the next request."""
        here = self._requests - self._head["at"]
        self._requests += 1
        if self._head["at"] < 0 or here < 0 or (here > 0 and not self._head["on"]):
            return _http(200, json.dumps(RIGHT).encode())
        return _http(self._head["status"], self._body, self._head["longer"])

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()


def _http(status: int, body: bytes, longer: int = 0) -> bytes:
    """An answer that says that its body is longer than it is."""
    lines = (
        f"HTTP/1.1 {status} Said", f"Content-Length: {len(body) + longer}", "Location: /again",
        "Content-Type: application/json", "Connection: close",
    )  # fmt: skip
    return "\r\n".join([*lines, "", ""]).encode() + body


@contextmanager
def _connected(folder: Path) -> Any:
    """A server, and this process as a client of it that works in `folder`."""
    server = Server()
    (folder / "tmp").mkdir()
    tempfile.tempdir = str(folder / "tmp")
    os.environ |= {
        "DVC_ROOT": str(folder), "MLFLOW_TRACKING_URI": server.address,
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    }  # fmt: skip
    # MLflow looks for these with every request, and in vain, which takes most of its time.
    sys.modules |= dict.fromkeys(("dbruntime", "IPython", "pyspark"))
    server.spoil()  # imports MLflow, while nothing watches
    try:
        yield server
    finally:
        server.close()


@contextmanager
def _quiet() -> Any:
    """Nothing that is printed in the block holds the password."""
    printed = io.StringIO()
    with redirect_stderr(printed), redirect_stdout(printed):
        yield
    assert PASSWORD not in printed.getvalue(), printed.getvalue()


# --- JSON that is almost right

_DROP = object()
_WORDS = st.sampled_from([
    None, True, -1, 2**70, 1e308, float("nan"), "", "x" * 10_000, [], {}, [[]], {"a": {}}, "\0",
    f"../../../{SECRET}", f"file:///{SECRET}", "../x", "/x", "s3://x", "ftp://x/y", "FINISHED",
    "\ud800", "model", "metrics", "files", _DROP,
])  # fmt: skip


def altered(value: Any, way: list[int], new: Any) -> Any:
    """`value` with what lies at the end of a way through it replaced, or left out."""
    if not way or not isinstance(value, dict | list) or not value:
        return new
    keys = list(value) if isinstance(value, dict) else range(len(value))
    key, copy = keys[way[0] % len(keys)], value.copy()
    copy[key] = altered(copy[key], way[1:], new)
    if copy[key] is _DROP:
        del copy[key]
    return copy


def _almost(values: SearchStrategy[Any]) -> SearchStrategy[bytes]:
    way = st.lists(st.integers(0, 20), min_size=1, max_size=7)
    new = st.one_of(_WORDS, st.text(max_size=5), st.integers(-(2**65), 2**65))
    json_text = st.builds(altered, values, way, new).map(
        lambda value: json.dumps(None if value is _DROP else value).encode()
    )
    broken = st.builds(
        spoilt, values.map(lambda value: json.dumps(value).encode()),
        st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), max_size=4),
        st.one_of(st.just(1.0), st.floats(0, 1)), st.binary(max_size=4),
    )  # fmt: skip
    other = st.sampled_from([b"", b"{}", b"[]", b"null", b"<html>", b"[" * 100_000])
    return st.one_of(json_text, json_text, broken, other, st.binary(max_size=40))


# --- A server's answers


def _answers() -> SearchStrategy[bytes]:
    error = {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no such run"}
    head = st.fixed_dictionaries({
        "at": st.integers(0, 12),
        "on": st.booleans(),  # whether all later answers are the same
        "status": st.sampled_from([200, 200, 200, 200, 204, 302, 400, 401, 404, 429, 500, 503]),
        "longer": st.sampled_from([0, 0, 0, 10]),
    })  # fmt: skip
    right = st.sampled_from([RIGHT, RIGHT, {**RIGHT, "next_page_token": "more"}, error])
    return st.builds(
        lambda head, body: json.dumps(head).encode() + b"\n" + body, head, _almost(right)
    )


@contextmanager
def _answered(folder: Path) -> Opened:
    with _connected(folder) as server:

        def use(data: bytes) -> None:
            server.spoil(data)
            with _quiet():
                with start_run(
                    SETTINGS, stage="train", kind="model", name="image", origin=ORIGIN
                ) as run:
                    run.params({"seed": 1})
                    run.metrics({"loss": 0.5}, 1)
                    run.text("text", "note.txt")
                    run.current()
                with suppress(PipelineError), required():
                    outbox.tidy(SETTINGS)
            shutil.rmtree(folder / "cache", ignore_errors=True)

        yield use


# --- Records in the outbox


def _records() -> SearchStrategy[bytes]:
    operations: list[record.Operation] = [
        record.params({"train": {"epochs": 3}}),
        record.metrics({"loss": 0.5}, 1),
        record.metrics({"test": {"roc_auc": 0.5}}, 0, "train"),
        {"do": "tags", "values": {"model_sha256": "aa"}},
        {"do": "text", "text": "text", "file": "lineage/note.txt"},
        {"do": "files", "path": "0/a.csv", "folder": "plots"},
        {"do": "model", "path": "0"},
        {"do": "input", "context": "train", "data": {
            "name": "train", "digest": "aa", "source_type": "code", "source": "{}",
        }},
        {"do": "current"},
    ]  # fmt: skip
    chosen = st.lists(st.sampled_from(operations), min_size=1, max_size=3)
    return _almost(
        st.builds(
            lambda some, run_id: asdict(
                record.Record(
                    SETTINGS.experiment, "image", TAGS, "aa", run_id, some, 1, "FINISHED", 2
                )
            ),
            chosen,
            st.sampled_from([None, "a" * 32]),
        )
    )


@contextmanager
def _kept(folder: Path) -> Opened:
    (folder / SECRET).write_text("nobody reads this")
    with _connected(folder) as server:

        def use(data: bytes) -> None:
            server.spoil()
            place = folder / "cache" / "outbox" / "1-1"
            (place / "0").mkdir(parents=True)
            (place / "0" / "a.csv").write_text("1")
            (place / "record.json").write_bytes(data)
            try:
                with _quiet(), suppress(PipelineError), required():
                    outbox.deliver()
            finally:
                shutil.rmtree(folder / "cache")

        yield use


SERVERS = [
    Target("answers", _answers, _answered, writes=True, secret=SECRET, share=0.05),
    Target("records", _records, _kept, writes=True, secret=SECRET, share=0.05),
]
