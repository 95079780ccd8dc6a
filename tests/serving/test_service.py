"""The service over HTTP: a real server, good images, and everything that can be sent wrongly."""

import base64
import json
import logging
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from deepfake.data import images
from deepfake.serving import connection
from deepfake.serving.detector import Detector
from deepfake.serving.limits import Limits
from deepfake.serving.service import create
from tests.support.documented import answers
from tests.support.faults.cases import HANDLED, Awkward
from tests.support.faults.images import IMAGES, claimed
from tests.support.making import image_file

pytestmark = pytest.mark.slow  # TensorFlow makes the detector

LIMITS = Limits(
    body_bytes=3_000_000, images=4, pixels=2_000_000, read_seconds=0.5, requests=3,
    held_bytes=4_000_000,
)  # fmt: skip

PATIENT = replace(LIMITS, read_seconds=30)
GET = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"


@contextmanager
def running(detector: Detector, limits: Limits) -> Iterator[httpx.Client]:
    """The service in a thread, and a client of it."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        app = create(detector, limits)
        config = uvicorn.Config(app, http=connection.Connection, log_level="critical")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        try:
            with httpx.Client(base_url=address, timeout=60) as client:
                yield client
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture(scope="module")
def service(detector: Detector) -> Iterator[httpx.Client]:
    with running(detector, LIMITS) as client:
        yield client


def uploaded(*files: bytes, name: str = "face.jpg") -> list[tuple[str, tuple[str, bytes]]]:
    return [("files", (name, data)) for data in files]


def in_base64(*files: bytes) -> dict[str, list[str]]:
    return {"images": [base64.b64encode(data).decode() for data in files]}


def raw(client: httpx.Client, sent: bytes) -> bytes:
    """What the service answers to these bytes, after which nothing more is sent."""
    with socket.create_connection((client.base_url.host, client.base_url.port or 0)) as opened:
        opened.sendall(sent)
        opened.settimeout(30)
        parts = []
        while part := opened.recv(65536):
            parts.append(part)
    return b"".join(parts)


def test_uploads_and_base64_get_the_scores_of_the_detector(
    service: httpx.Client, detector: Detector
) -> None:
    files = [image_file(1), image_file(2)]
    scores = [round(found.score or 0, 6) for found in detector.predict(files)]
    answer = service.post("/predict", files=uploaded(*files))
    assert answer.status_code == 200, answer.text
    rows = answer.json()["predictions"]
    assert [row["name"] for row in rows] == ["face.jpg"] * 2
    assert [row["score"] for row in rows] == scores
    assert {row["verdict"] for row in rows} <= {"real", "fake", "uncertain"}
    answer = service.post("/predict/base64", json=in_base64(*files))
    rows = answer.json()["predictions"]
    assert [(row["name"], row["score"]) for row in rows] == [
        ("image 1", scores[0]),
        ("image 2", scores[1]),
    ]
    address = "data:image/png;base64," + in_base64(files[0])["images"][0]
    rows = service.post("/predict/base64", json={"images": [address]}).json()["predictions"]
    assert rows[0]["score"] == scores[0]


def test_the_lines_of_the_page_work_as_printed(
    service: httpx.Client, detector: Detector, tmp_path: Path
) -> None:
    (tmp_path / "face.jpg").write_bytes(image_file(1))
    address = str(service.base_url).rstrip("/")
    found = answers("docs/service.md", "http://127.0.0.1:8000", address, tmp_path)
    one, two, encoded, model, health = map(json.loads, found)
    score = round(detector.predict(image_file(1))[0].score or 0, 6)
    assert [row["score"] for row in one["predictions"]] == [score]
    assert [row["score"] for row in two["predictions"]] == [score] * 2
    assert [row["score"] for row in encoded["predictions"]] == [score]
    assert model["digest"] == detector.description.digest
    assert health == {"status": "ok"}


def test_what_it_says_of_itself(service: httpx.Client, detector: Detector) -> None:
    assert service.get("/health").json() == {"status": "ok"}
    assert service.get("/model").json()["digest"] == detector.description.digest
    page = service.get("/docs").text
    assert "http://" not in page
    assert "https://" not in page  # scripts and styles come from the service itself
    schema = service.get("/openapi.json").json()
    assert '"format":"binary"' in service.get("/openapi.json").text  # the page chooses files
    assert set(schema["paths"]) == {"/predict", "/predict/base64", "/health", "/model"}


@pytest.mark.parametrize("case", IMAGES, ids=lambda case: case.name)
def test_awkward_images(service: httpx.Client, case: Awkward) -> None:
    data = case.make()
    answers = [
        service.post("/predict", files=uploaded(data)),
        service.post("/predict/base64", json=in_base64(data)),
    ]
    for answer in answers:
        (row,) = answer.json()["predictions"]
        if case.outcome == HANDLED:
            assert (answer.status_code, row["reason"]) == (200, None)
        else:
            assert (answer.status_code, row["reason"], row["score"]) == (422, case.says, None)


def test_a_bad_image_does_not_stop_the_others(service: httpx.Client) -> None:
    answer = service.post("/predict", files=uploaded(b"text", image_file(1), name="a\u202eb.jpg"))
    assert answer.status_code == 200
    bad, good = answer.json()["predictions"]
    assert bad == {
        "name": "a\\u202eb.jpg", "score": None, "verdict": None, "reason": "not an image",
    }  # fmt: skip
    assert good["score"] is not None
    sent = {"images": ["no base64!", *in_base64(image_file(1))["images"]]}
    bad, good = service.post("/predict/base64", json=sent).json()["predictions"]
    assert (bad["reason"], good["reason"]) == ("not base64", None)


PART = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.jpg"\r\n\r\n'
BROKEN: dict[str, tuple[dict[str, Any], int, str]] = {
    "no form": ({"content": b"x", "headers": {"Content-Type": "text/plain"}}, 422, "files"),
    "a form without files": ({"data": {"file": "x"}}, 422, "files: Field required"),
    "another name": ({"files": {"image": b"x"}}, 422, "files: Field required"),
    "a form without its end": (
        {
            "content": PART + b"data",
            "headers": {"Content-Type": "multipart/form-data; boundary=x"},
        },
        422,
        "",
    ),
    "a form without a boundary": (
        {"content": b"x", "headers": {"Content-Type": "multipart/form-data"}}, 400, "boundary",
    ),
    "too many files": ({"files": uploaded(*[b"x"] * 5)}, 400, "Maximum number of files is 4"),
    "too many pixels": (
        {"files": uploaded(claimed(1500, 1000), claimed(1000, 1500))}, 413, "3 million pixels",
    ),
    "too many bytes": ({"files": uploaded(bytes(3_000_001))}, 413, "larger than 3 MB"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_form_is_refused_with_its_reason(service: httpx.Client, name: str) -> None:
    sent, status, reason = BROKEN[name]
    answer = service.post("/predict", **sent)
    assert answer.status_code == status, answer.text
    assert reason in answer.text
    assert len(answer.text) < 300


@pytest.mark.parametrize(
    ("content", "status", "reason"),
    [
        (b"", 422, "Invalid JSON"),
        (b"{", 422, "Invalid JSON"),
        (b"\xff\xfe", 422, "Invalid JSON"),
        (b"[]", 422, "object"),
        (b"{}", 422, "images: Field required"),
        (b'{"images": []}', 422, "images: List should have at least 1 item"),
        (b'{"images": [1]}', 422, "images.0: Input should be a valid string"),
        (b'{"images": "x"}', 422, "images: Input should be a valid"),
        (json.dumps(in_base64(*[b"x"] * 5)).encode(), 413, "5 images in one request"),
        (b'{"images": [' + b"[]," * 900_000 + b"[]]}", 413, "not a list of at most 4 images"),
        (b"[" * 100_000, 413, "not a list of at most 4 images"),
    ],
)
def test_broken_json_is_refused_with_its_reason(
    service: httpx.Client, content: bytes, status: int, reason: str
) -> None:
    answer = service.post("/predict/base64", content=content)
    assert answer.status_code == status, answer.text
    assert reason in answer.json()["detail"]
    assert len(answer.text) < 300


def test_a_body_of_unknown_length_is_refused_while_it_arrives(service: httpx.Client) -> None:
    end = time.monotonic() + 60

    def endless() -> Iterator[bytes]:
        while time.monotonic() < end:
            yield bytes(100_000)

    with suppress(httpx.TransportError):  # closed, as the client would not stop
        answer = service.post("/predict/base64", content=endless())
        assert answer.status_code == 413
        assert "larger than 3 MB" in answer.json()["detail"]
    assert time.monotonic() < end - 30
    assert service.get("/health").status_code == 200


def test_a_body_that_does_not_arrive_is_given_up(service: httpx.Client) -> None:
    start = time.monotonic()
    head = b"POST /predict/base64 HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"
    answer = raw(service, head)
    assert b"408" in answer.splitlines()[0]
    assert b"did not arrive within 0.5 seconds" in answer
    assert time.monotonic() - start < 20


def test_an_upload_cut_in_the_middle_leaves_nothing_behind(
    service: httpx.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    head = (
        b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 2500000\r\n"
        b"Content-Type: multipart/form-data; boundary=x\r\n\r\n" + PART
    )
    with socket.create_connection((service.base_url.host, service.base_url.port or 0)) as cut:
        cut.sendall(head + bytes(2_000_000))
        time.sleep(0.2)
        assert list(tmp_path.iterdir()) == []  # in memory, though it is more than a megabyte
    answer = service.post("/predict", files=uploaded(image_file(1)))
    assert answer.status_code == 200
    assert list(tmp_path.iterdir()) == []


def test_too_many_requests_at_a_time_are_sent_away(detector: Detector) -> None:
    with running(detector, PATIENT) as client:
        head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n"
        place = (client.base_url.host, client.base_url.port or 0)
        waiting = [socket.create_connection(place) for _ in range(3)]
        for one in waiting:
            one.sendall(head)
        answers = [client.post("/predict", files=uploaded(image_file(1))) for _ in range(2)]
        time.sleep(0.1)
        answers.append(client.post("/predict", files=uploaded(image_file(1))))
        refused = answers[-1]
        for one in waiting:
            one.close()
        assert refused.status_code == 503
        assert refused.headers["Retry-After"] == "1"
        assert "3 requests" in refused.json()["detail"]
        assert client.get("/health").status_code == 200
        deadline = time.monotonic() + 20
        while client.post("/predict", files=uploaded(image_file(1))).status_code != 200:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_all_bodies_together_are_bounded(detector: Detector) -> None:
    with running(detector, PATIENT) as client:
        head = b"POST /predict/base64 HTTP/1.1\r\nHost: x\r\nContent-Length: 2900000\r\n\r\n"
        with socket.create_connection((client.base_url.host, client.base_url.port or 0)) as other:
            other.sendall(head + bytes(2_800_000))
            deadline = time.monotonic() + 20
            while True:  # until the server has read what was sent
                answer = client.post("/predict/base64", content=bytes(2_000_000))
                if answer.status_code == 503 or time.monotonic() > deadline:
                    break
        assert answer.status_code == 503
        assert "are being received" in answer.json()["detail"]


def test_a_body_in_json_that_breaks_off_leaves_no_traceback(
    detector: Detector, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with running(detector, LIMITS) as client:
        log = logging.getLogger("uvicorn.error")
        log.setLevel(logging.ERROR)
        monkeypatch.setattr(log, "handlers", [caplog.handler])
        monkeypatch.setattr(log, "propagate", False)
        head = b"POST /predict/base64 HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"
        with socket.create_connection((client.base_url.host, client.base_url.port or 0)) as cut:
            cut.sendall(head + b"{")
            time.sleep(0.2)
        time.sleep(0.2)
        assert client.get("/health").status_code == 200
    assert not [record for record in caplog.records if record.exc_info]


@pytest.mark.parametrize("sent", [b"", b"GET /health HT", GET, GET + b"GET /heal"])
def test_a_connection_without_a_whole_head_is_closed(
    detector: Detector, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(connection, "HEAD_SECONDS", 0.3)
    with running(detector, LIMITS) as client:
        place = (client.base_url.host, client.base_url.port or 0)
        began = time.monotonic()
        with socket.create_connection(place) as silent:
            silent.sendall(sent)
            silent.settimeout(20)
            while silent.recv(65536):
                pass
        assert 0.2 < time.monotonic() - began < 4  # before uvicorn's keep-alive ends, after 5 s


def test_a_slow_answer_is_no_reason_to_close_a_connection(
    detector: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "HEAD_SECONDS", 1)
    with running(detector, PATIENT) as client:
        place = (client.base_url.host, client.base_url.port or 0)
        with socket.create_connection(place) as opened:
            opened.settimeout(20)
            opened.sendall(
                b"POST /predict/base64 HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{"
            )
            time.sleep(1.6)  # there is a look after 1 and 2 seconds
            opened.sendall(b"}")
            answer = b""
            while not answer.endswith(b"}"):
                answer += opened.recv(65536)
            assert answer.startswith(b"HTTP/1.1 422")
            time.sleep(0.6)
            opened.sendall(GET)
            assert opened.recv(65536).startswith(b"HTTP/1.1 200")


def test_the_largest_image_that_is_decoded_may_be_sent() -> None:
    assert Limits().pixels >= images.MAX_PIXELS
