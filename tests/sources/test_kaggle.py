"""Downloads from Kaggle: the real client, over real HTTP, from a server on this machine."""

import contextlib
import hashlib
import io
import json
import multiprocessing
import re
import time
import zipfile
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tenacity
from PIL import Image

from deepfake.common.errors import PipelineError
from deepfake.common.labels import FAKE, REAL
from deepfake.params import CsvParams, FolderParams, KaggleParams
from deepfake.sources import kaggle_retry, kaggle_transfer
from deepfake.sources.kaggle import fetch, open_kaggle, parse
from tests.support import kaggle_server
from tests.support.kaggle_server import (
    BASIC,
    DOWNLOAD,
    FILES,
    GET_DATASET,
    LEGACY_KEY,
    SIGNATURE,
    TOKEN,
    USER,
    Fault,
    KaggleServer,
)
from tests.support.making import LIMITS, content, run, settings

XHLULU = "xhlulu/140k-real-and-fake-faces"
DATA_SET = parse(f"{XHLULU}/2")
FOLDER = FolderParams(
    path="unused",
    real=["natural"],
    fake=["ai"],
    csv=CsvParams(file=None, path_column="path", label_column="label", split_column=None),
    valid_fraction=0.2,
    test_fraction=0.2,
)


def image_file(number: int) -> bytes:
    pixels = np.random.default_rng(number).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=95)
    return file.getvalue()


def zipped(names: list[str]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for number, name in enumerate(names):
            archive.writestr(zipfile.ZipInfo(name), image_file(number))
    return file.getvalue()


ARCHIVE = zipped(
    [
        f"real_vs_fake/real-vs-fake/{split}/{name}/{number}.jpg"
        for split in ("train", "valid", "test")
        for name in ("real", "fake")
        for number in range(2)
    ]
)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KaggleServer]:
    """A server that the client talks to, a token that it accepts, and an empty cache."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    for name in kaggle_server.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / "project"))
    with contextlib.redirect_stdout(io.StringIO()):
        from kaggle.api.kaggle_api_extended import KaggleApi
    from kagglesdk import kaggle_env

    # The client fixes the place of its configuration when it is imported.
    monkeypatch.setattr(KaggleApi, "config", str(home / "kaggle.json"))
    monkeypatch.setattr(kaggle_retry, "FIRST_WAIT", 0.01)
    monkeypatch.setattr(kaggle_transfer, "CHUNK", 1000)
    with KaggleServer({("xhlulu", "140k-real-and-fake-faces", 2): ARCHIVE}) as running:
        endpoints = kaggle_env._env_to_endpoint
        monkeypatch.setitem(endpoints, kaggle_env.KaggleEnv.PROD, running.url)
        monkeypatch.setenv("KAGGLE_API_TOKEN", TOKEN)
        yield running


def cache(tmp_path: Path) -> Path:
    return tmp_path / "project" / "cache" / "kaggle" / XHLULU / "2"


def refusal(*parts: str) -> "pytest.RaisesExc[PipelineError]":
    """Expect one PipelineError that holds every part, in order."""
    return pytest.raises(PipelineError, match="(?s)" + ".*".join(map(re.escape, parts)))


def test_a_download_is_tested_recorded_and_kept(server: KaggleServer, tmp_path: Path) -> None:
    path, version, sha256 = fetch(DATA_SET, LIMITS)
    assert path == cache(tmp_path) / "archive.zip"
    assert path.read_bytes() == ARCHIVE
    assert (version, sha256) == (2, hashlib.sha256(ARCHIVE).hexdigest())
    assert (path.parent / "archive.sha256").read_text() == f"{sha256}  archive.zip\n"
    assert not (path.parent / "partial").exists()
    assert server.paths(DOWNLOAD)[0].body["datasetVersionNumber"] == 2


def test_what_is_in_the_cache_needs_no_network_and_no_credentials(
    server: KaggleServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = fetch(DATA_SET, LIMITS)
    monkeypatch.delenv("KAGGLE_API_TOKEN")
    server.requests.clear()
    assert fetch(DATA_SET, LIMITS) == first
    assert server.requests == []


def test_without_a_version_the_newest_is_taken(server: KaggleServer) -> None:
    server.archives["xhlulu", "140k-real-and-fake-faces", 10] = ARCHIVE
    path, version, _ = fetch(parse(XHLULU), LIMITS)
    assert version == 10
    assert path.parent.name == "10"


def test_no_credentials(server: KaggleServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KAGGLE_API_TOKEN")
    with refusal(
        "no Kaggle credentials", "https://www.kaggle.com/settings/api", "KAGGLE_API_TOKEN",
        "~/.kaggle/access_token", "data.source: sample", "folder",
    ):  # fmt: skip
        fetch(DATA_SET, LIMITS)


def test_credentials_that_kaggle_does_not_accept(
    server: KaggleServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAGGLE_API_TOKEN", "KGAT_expired")
    with refusal("does not accept the credentials") as caught:
        fetch(DATA_SET, LIMITS)
    assert "KGAT_expired" not in str(caught.value)


@pytest.mark.parametrize(
    ("status", "parts"),
    [
        (401, ("status 401", "https://www.kaggle.com/settings/api")),
        (403, ("status 403", "https://www.kaggle.com/datasets/xhlulu", "accept its terms")),
        (404, ("status 404", "no such data set or version")),
    ],
)
def test_refusals_are_not_tried_again(
    server: KaggleServer, status: int, parts: tuple[str, ...]
) -> None:
    server.faults = [Fault(DOWNLOAD, status=status)]
    with refusal("xhlulu/140k-real-and-fake-faces version 2", *parts):
        fetch(DATA_SET, LIMITS)
    assert len(server.paths(DOWNLOAD)) == 1


def test_a_version_that_is_not_there(server: KaggleServer) -> None:
    with refusal("version 7", "no such data set or version"):
        fetch(parse(f"{XHLULU}/7"), LIMITS)


@pytest.mark.parametrize("status", [429, 503])
def test_faults_that_pass_are_waited_out(server: KaggleServer, status: int) -> None:
    server.faults = [Fault(DOWNLOAD, status=status, retry_after=0)] * 2
    assert fetch(DATA_SET, LIMITS)[0].read_bytes() == ARCHIVE
    assert len(server.paths(DOWNLOAD)) == 3


def waits(header: str) -> float:
    error = Exception()
    error.response = SimpleNamespace(headers={"Retry-After": header})  # type: ignore[attr-defined]
    state = tenacity.RetryCallState(tenacity.Retrying(), None, (), {})
    state.set_exception((type(error), error, None))
    return kaggle_retry.wait_seconds(state)


def test_how_long_kaggle_asks_to_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kaggle_retry, "FIRST_WAIT", 2.0)
    assert waits("7") == 7
    assert waits("100000") == kaggle_retry.LONGEST_WAIT
    assert waits("soon") == 2
    assert waits(formatdate(time.time() + 50, usegmt=True)) == pytest.approx(50, abs=5)
    assert waits(formatdate(time.time() - 50, usegmt=True)) == 2


def test_the_newest_version_is_asked_for_again(server: KaggleServer) -> None:
    server.faults = [Fault(GET_DATASET, status=500)] * 2
    assert fetch(parse(XHLULU), LIMITS)[1] == 2


def test_progress_of_a_download_is_told(
    server: KaggleServer, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(kaggle_transfer, "SECONDS_BETWEEN_LINES", 0.05)
    server.pace = 60_000
    fetch(DATA_SET, LIMITS)
    line = r"downloaded \d+ of 0 MB, 0\.\d MB/s, \d+ s left"
    assert re.search(line, capfd.readouterr().err)


def test_a_cut_connection_is_resumed_where_it_broke(server: KaggleServer) -> None:
    server.faults = [Fault(FILES, cut_after=20_000)]
    assert fetch(DATA_SET, LIMITS)[0].read_bytes() == ARCHIVE
    ranges = [request.headers.get("Range") for request in server.paths(FILES)]
    assert ranges == [None, None, "bytes=20000-"]


def test_a_later_run_continues_what_an_earlier_one_kept(
    server: KaggleServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kaggle_retry, "ATTEMPTS", 1)
    server.faults = [Fault(FILES, cut_after=30_000)]
    with refusal("connection to Kaggle failed", "30000 bytes received so far are kept"):
        fetch(DATA_SET, LIMITS)
    assert not (cache(tmp_path) / "archive.zip").exists()
    assert fetch(DATA_SET, LIMITS)[0].read_bytes() == ARCHIVE
    assert server.paths(FILES)[-1].headers["Range"] == "bytes=30000-"


def test_a_file_that_changed_meanwhile_is_not_appended_to(
    server: KaggleServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kaggle_retry, "ATTEMPTS", 1)
    server.faults = [Fault(FILES, cut_after=30_000)]
    with refusal("kept"):
        fetch(DATA_SET, LIMITS)
    other = zipped(["train/real/1.jpg", "train/fake/1.jpg"])
    server.archives["xhlulu", "140k-real-and-fake-faces", 2] = other
    assert fetch(DATA_SET, LIMITS)[0].read_bytes() == other


def test_a_stalled_connection_is_given_up_and_resumed(
    server: KaggleServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kaggle_transfer, "PATIENCE", 0.3)
    server.faults = [Fault(FILES, stall_after=10_000, seconds=60)]
    started = time.monotonic()
    assert fetch(DATA_SET, LIMITS)[0].read_bytes() == ARCHIVE
    assert server.paths(FILES)[-1].headers["Range"] == "bytes=10000-"
    assert time.monotonic() - started < 30


def test_a_download_ends_at_its_deadline(
    server: KaggleServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kaggle_transfer, "DEADLINE", 0)
    with refusal("stopped after 0 hours", "received so far are kept"):
        fetch(DATA_SET, LIMITS)
    monkeypatch.setattr(kaggle_transfer, "DEADLINE", 60)
    assert fetch(DATA_SET, LIMITS)[0].read_bytes() == ARCHIVE


def test_a_page_instead_of_the_archive(server: KaggleServer, tmp_path: Path) -> None:
    page = b"<html>Please sign in</html>"
    server.faults = [Fault(FILES, body=page, content_type="text/html")]
    with refusal("not a zip that can be read", f"{len(page)} bytes"):
        fetch(DATA_SET, LIMITS)
    assert not (cache(tmp_path) / "archive.sha256").exists()
    assert fetch(DATA_SET, LIMITS)[0].read_bytes() == ARCHIVE


def test_an_archive_with_a_wrong_checksum(server: KaggleServer) -> None:
    middle = len(ARCHIVE) // 2
    damaged = ARCHIVE[:middle] + bytes([ARCHIVE[middle] ^ 255]) + ARCHIVE[middle + 1 :]
    server.faults = [Fault(FILES, body=damaged)]
    with refusal("not a zip that can be read", "checksum"):
        fetch(DATA_SET, LIMITS)


def test_other_bytes_under_the_same_version_are_refused(
    server: KaggleServer, tmp_path: Path
) -> None:
    path, _, sha256 = fetch(DATA_SET, LIMITS)
    path.unlink()
    other = zipped(["train/real/1.jpg", "train/fake/1.jpg"])
    server.archives["xhlulu", "140k-real-and-fake-faces", 2] = other
    with refusal("not the archive", hashlib.sha256(other).hexdigest(), sha256, "delete"):
        fetch(DATA_SET, LIMITS)
    assert not path.exists()
    assert (cache(tmp_path) / "archive.sha256").read_text().startswith(sha256)


def test_a_refused_archive_is_not_downloaded_again_once_it_is_accepted(
    server: KaggleServer, tmp_path: Path
) -> None:
    fetch(DATA_SET, LIMITS)[0].unlink()
    record = cache(tmp_path) / "archive.sha256"
    record.write_text(f"{'0' * 64}  archive.zip\n")
    with refusal("not the archive"):
        fetch(DATA_SET, LIMITS)
    record.unlink()
    server.faults = [Fault(FILES, body=None, cut_after=0)]  # no byte of it is needed
    assert fetch(DATA_SET, LIMITS)[0].read_bytes() == ARCHIVE


def test_an_archive_that_changed_in_the_cache_is_refused(server: KaggleServer) -> None:
    path, _, _ = fetch(DATA_SET, LIMITS)
    path.write_bytes(ARCHIVE + b"\0")
    with refusal("SHA-256"):
        fetch(DATA_SET, LIMITS)
    assert path.read_bytes() == ARCHIVE + b"\0"


def test_no_room_for_the_archive(server: KaggleServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server.faults = [Fault(FILES, length=10**15)]
    with refusal("needs 1000000000 MB", "are free"):
        fetch(DATA_SET, LIMITS)


def test_the_clients_verbose_mode_is_off(
    server: KaggleServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kaggle.api.kaggle_api_extended import KaggleApi

    # It prints credentials, and reads an archive as a whole to print that: nothing to resume.
    monkeypatch.setattr(KaggleApi, "args", ["--verbose"])
    server.faults = [Fault(FILES, cut_after=20_000)]
    fetch(DATA_SET, LIMITS)
    assert server.paths(FILES)[-1].headers["Range"] == "bytes=20000-"


def test_no_secret_is_told(
    server: KaggleServer,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("DEBUG")
    page = {"body": b"<html>", "content_type": "text/html"}
    server.faults = [Fault(FILES, status=status, **page) for status in (503, 500, 403)]
    with refusal("status 403") as caught:
        fetch(DATA_SET, LIMITS)
    fetch(DATA_SET, LIMITS)
    written = [path.read_bytes() for path in (tmp_path / "project").rglob("*") if path.is_file()]
    output = capfd.readouterr()
    told = b"".join(written) + f"{output.out}{output.err}{caplog.text}{caught.value!r}".encode()
    assert b"attempt 2" in told
    assert TOKEN.encode() not in told
    assert SIGNATURE.encode() not in told


def _ingest_elsewhere(url: str, directory: Path) -> dict[str, bytes]:
    kaggle_server.point_at(url)
    run(settings(source="kaggle", kaggle=KaggleParams(dataset=f"{XHLULU}/2")), directory)
    return content(directory)


@pytest.mark.slow
def test_four_processes_that_ingest_the_same_data_set_download_it_once(
    server: KaggleServer, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    server.pace = len(ARCHIVE) / 2  # slow enough that all of them want it at once
    places = [(server.url, tmp_path / f"images {number}") for number in range(4)]
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        written = pool.starmap(_ingest_elsewhere, places, chunksize=1)
    assert written[0]
    assert all(images == written[0] for images in written)
    assert len(server.paths(DOWNLOAD)) == 1
    assert server.sent < 1.5 * len(ARCHIVE)
    assert capfd.readouterr().err.count("another process is fetching this data set") == 3


@pytest.mark.parametrize("where", ["environment", "file"])
def test_an_older_key_serves_as_well(
    server: KaggleServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    monkeypatch.delenv("KAGGLE_API_TOKEN")
    if where == "environment":
        monkeypatch.setenv("KAGGLE_USERNAME", USER)
        monkeypatch.setenv("KAGGLE_KEY", LEGACY_KEY)
    else:
        key = json.dumps({"username": USER, "key": LEGACY_KEY})
        (tmp_path / "home" / "kaggle.json").write_text(key)
        monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(tmp_path / "home"))
        from kaggle.api.kaggle_api_extended import KaggleApi

        monkeypatch.setattr(KaggleApi, "config_dir", str(tmp_path / "home"))
    assert fetch(DATA_SET, LIMITS)[0].read_bytes() == ARCHIVE
    assert server.paths(DOWNLOAD)[0].headers["Authorization"] == f"Basic {BASIC}"


def test_the_140k_data_set_is_known(server: KaggleServer) -> None:
    with open_kaggle(KaggleParams(dataset=f"{XHLULU}/2"), FOLDER, LIMITS) as source:
        entries = source.offer().entries
        description = source.describe()
    places = {(entry.split, entry.label) for entry in entries}
    assert places == {(s, label) for s in ("train", "valid", "test") for label in (REAL, FAKE)}
    assert all(f"/{('real', 'fake')[entry.label]}/" in entry.path for entry in entries)
    assert description == {
        "name": f"kaggle:{XHLULU}",
        "version": "2",
        "sha256": hashlib.sha256(ARCHIVE).hexdigest(),
    }


def test_the_other_known_data_set(server: KaggleServer) -> None:
    names = [
        f"Dataset/{split}/{name}/{name.lower()}_{number}.jpg"
        for split in ("Train", "Validation", "Test")
        for name in ("Fake", "Real")
        for number in range(1, 3)
    ]
    server.archives["manjilkarki", "deepfake-and-real-images", 1] = zipped(names)
    dataset = "manjilkarki/deepfake-and-real-images/1"
    with open_kaggle(KaggleParams(dataset=dataset), FOLDER, LIMITS) as source:
        places = {entry.path: (entry.split, entry.label) for entry in source.offer().entries}
    assert len(places) == 12
    assert places["Dataset/Validation/Fake/fake_1.jpg"] == ("valid", FAKE)
    assert places["Dataset/Test/Real/real_2.jpg"] == ("test", REAL)


def test_any_other_data_set_follows_the_rules_of_data_folder(server: KaggleServer) -> None:
    server.archives["some-one", "faces", 3] = zipped(["x/natural/1.jpg", "x/AI/1.jpg"])
    with open_kaggle(KaggleParams(dataset="some-one/faces/3"), FOLDER, LIMITS) as source:
        labels = {entry.path: entry.label for entry in source.offer().entries}
    assert labels == {"x/natural/1.jpg": REAL, "x/AI/1.jpg": FAKE}


@pytest.mark.parametrize("text", ["../faces", "a/..", "a/b/c/d", "a"])
def test_names_that_are_no_data_set(text: str) -> None:
    with refusal("data.kaggle.dataset", text):
        parse(text)


@pytest.mark.parametrize("text", ["", '{"validator": "x', "[]"])
def test_a_damaged_record_of_a_partial_download_begins_it_anew(tmp_path: Path, text: str) -> None:
    record = tmp_path / "faces.zip.kaggle-partial"
    record.write_text(text)
    assert kaggle_transfer._recorded(record) is None
