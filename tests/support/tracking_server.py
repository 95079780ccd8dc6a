"""Tracking servers that do not answer as they should."""

import json
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

# Answers a request, given its method, until the event says that the test is over.
Answer = Callable[[str, Any, threading.Event], None]

_RUN: dict[str, Any] = {
    "info": {
        "run_id": "r", "experiment_id": "1", "run_name": "train", "status": "RUNNING",
        "artifact_uri": "mlflow-artifacts:/1/r/artifacts",
    },
    "data": {},
}  # fmt: skip
_EXPERIMENT = {"experiment_id": "1", "name": "faces", "lifecycle_stage": "active"}


@contextmanager
def serving(answer: Answer) -> Iterator[str]:
    """Run a server in the block; yields its address."""
    over = threading.Event()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            method = self.rfile.readline().split(b" ")[0].decode()
            while self.rfile.readline().strip():
                pass
            with suppress(OSError):  # the client has gone
                answer(method, self.wfile, over)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        over.set()
        server.shutdown()


def _head(length: int) -> bytes:
    return f"HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n".encode()


def silent(method: str, stream: Any, over: threading.Event) -> None:
    over.wait()


def dripping(method: str, stream: Any, over: threading.Event) -> None:
    """Send a byte from time to time, the first of them of the headers."""
    for byte in _head(1_000_000) + b" " * 1_000_000:
        stream.write(bytes([byte]))
        if over.wait(0.02):
            return


def endless(method: str, stream: Any, over: threading.Event) -> None:
    """Answer with 8 GB, as fast as they are taken."""
    stream.write(_head(8_000_000_000))
    while not over.is_set():
        stream.write(b" " * 65_536)


def without_files(method: str, stream: Any, over: threading.Event) -> None:
    """Answer everything but uploads, as far as recording a run takes it."""
    if method == "PUT":
        over.wait()
    _write(stream, {"experiment": _EXPERIMENT, "run": _RUN})


def elsewhere(method: str, stream: Any, over: threading.Event) -> None:
    """Answer everything, and have files written to the folder `elsewhere` of the client."""
    run = {"info": {**_RUN["info"], "run_id": "other", "artifact_uri": "elsewhere"}, "data": {}}
    _write(stream, {"experiment": _EXPERIMENT, "run": run})


def model_in(place: str) -> Answer:
    """Answer everything, and say of every model that its files are in `place`."""
    model = {"info": {"model_id": "m-0", "artifact_uri": place, "status": "LOGGED_MODEL_READY"}}

    def answer(method: str, stream: Any, over: threading.Event) -> None:
        _write(stream, {"model": model})

    return answer


def senseless(method: str, stream: Any, over: threading.Event) -> None:
    """Answer with JSON of another form."""
    _write(stream, {"experiment": 7})


def without_last_page(method: str, stream: Any, over: threading.Event) -> None:
    """Answer everything, and say of every list that it goes on."""
    _write(stream, {"experiment": _EXPERIMENT, "run": _RUN, "next_page_token": "more"})


def _write(stream: Any, answer: dict[str, Any]) -> None:
    body = json.dumps(answer).encode()
    stream.write(_head(len(body)) + body)
