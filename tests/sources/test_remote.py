"""Directories and zips at an address, on a real S3 server and over HTTP."""

import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from deepfake.common.errors import PipelineError
from deepfake.ingest import inspection
from deepfake.sources import remote
from deepfake.sources.remote import Remote
from tests.support import s3_server
from tests.support.making import content, packed, run, settings, split_files, write, zip_bytes
from tests.support.s3_server import BUCKET, KEY, S3, SECRET

pytestmark = pytest.mark.slow  # starting moto takes seconds

FILES = split_files()
OF_NO_USE = {"read me.txt": b"text", "train/.DS_Store": b"junk", "train/real/": b""}


@pytest.fixture(scope="module")
def filled() -> Iterator[S3]:
    with s3_server.serving() as server:
        server.put({f"drawn/{name}": data for name, data in {**FILES, **OF_NO_USE}.items()})
        server.put({"drawn.zip": zip_bytes(FILES), "text.zip": b"no zip"})
        yield server


@pytest.fixture
def server(filled: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> S3:
    s3_server.use(monkeypatch, filled.address, tmp_path)
    monkeypatch.setattr(remote, "_ATTEMPTS", 3)
    monkeypatch.setattr(remote, "_FIRST_WAIT", 0)
    filled.cuts, filled.is_down = 0, False
    filled.read.clear()
    return filled


@pytest.mark.parametrize("place", ["s3://faces/drawn", "s3://faces/drawn.zip", "over HTTP"])
def test_images_at_an_address_are_those_on_disk(server: S3, tmp_path: Path, place: str) -> None:
    address = f"{server.address}/{BUCKET}/drawn.zip" if place == "over HTTP" else place
    report = run(settings(address), tmp_path / "images")
    run(settings(write(tmp_path / "drawn", FILES)), tmp_path / "expected")
    assert packed(tmp_path / "images") == packed(tmp_path / "expected")
    assert report["source"]["path"] == address
    assert report["source"]["sha256"] is None
    assert ("tag" in report["source"]) == address.endswith(".zip")


def test_a_zip_is_not_copied_whole(server: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "_BLOCK_BYTES", 1000)
    large = zip_bytes({**FILES, "film.mp4": bytes(1_000_000)})
    server.put({"large.zip": large})
    found = inspection.inspect("s3://faces/large.zip", settings(), seed=1)
    assert found.files == len(FILES) + 1
    assert "all" not in server.read
    bounds = [one.removeprefix("bytes=").split("-") for one in server.read]
    assert sum(int(end) - int(start) for start, end in bounds) < len(large) / 2


@pytest.mark.parametrize("place", ["s3://faces/drawn", "s3://faces/drawn.zip"])
def test_what_breaks_off_is_read_again(server: S3, tmp_path: Path, place: str) -> None:
    server.cuts = 2
    run(settings(place), tmp_path / "images")
    assert server.cuts == 0
    assert len(packed(tmp_path / "images")) == len(FILES)


@pytest.mark.parametrize("place", ["s3://faces/drawn", "s3://faces/drawn.zip"])
def test_a_connection_that_stays_cut_stops_with_a_sentence(
    server: S3, tmp_path: Path, place: str
) -> None:
    server.cuts = 1000
    with pytest.raises(PipelineError, match=rf"^{place}: cannot be read after 3 attempts") as told:
        run(settings(place), tmp_path / "images")
    assert "\n" not in str(told.value)
    assert not (tmp_path / "images").exists()


def test_a_server_that_is_down(server: S3, tmp_path: Path) -> None:
    server.is_down = True
    with pytest.raises(PipelineError, match="s3://faces/drawn: cannot be read after 3 attempts"):
        run(settings("s3://faces/drawn"), tmp_path / "images")


@pytest.mark.parametrize(
    ("place", "says"),
    [
        ("s3://faces/nowhere", "no such directory or zip: s3://faces/nowhere"),
        ("s3://nobody/drawn", "no such directory or zip: s3://nobody/drawn"),
        ("s3://faces/text.zip", "s3://faces/text.zip is not a zip that can be read: File is not"),
        ("gs://faces/drawn", "gs://faces/drawn: .*gcsfs"),
        ("odd://faces/drawn", "odd://faces/drawn: Protocol not known: odd"),
        ("https://user:hidden@host/a.zip", "without user, password and query"),
        ("https://host/a.zip?X-Amz-Signature=hidden", "without user, password and query"),
        ("file:///etc", "is on this machine: give its path without file://"),
        ("simplecache::s3://faces/drawn", "an address as s3://bucket/folder is expected"),
    ],
)
def test_what_cannot_be_read_is_told(server: S3, tmp_path: Path, place: str, says: str) -> None:
    with pytest.raises(PipelineError, match=says) as told:
        run(settings(place), tmp_path / "images")
    assert "hidden" not in str(told.value)
    assert not (tmp_path / "images").exists()


def test_a_server_that_does_not_say_how_long_a_zip_is() -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(200)
            self.end_headers()

        def do_GET(self) -> None:
            self.do_HEAD()
            self.wfile.write(zip_bytes(FILES))

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/faces.zip"
        with pytest.raises(PipelineError, match="the server does not say how long it"):
            inspection.inspect(address, settings(), seed=1)
        server.shutdown()


def test_keys_are_in_nothing_that_is_written(
    server: S3, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run(settings("s3://faces/drawn"), tmp_path / "images")
    server.is_down = True
    with pytest.raises(PipelineError) as told:
        Remote("s3://faces/drawn").is_zip  # noqa: B018
    written = b"".join(content(tmp_path).values()) + "".join(capfd.readouterr()).encode()
    for secret in (os.environ["AWS_ACCESS_KEY_ID"], KEY, SECRET):
        assert secret.encode() not in written
        assert secret not in str(told.value)
