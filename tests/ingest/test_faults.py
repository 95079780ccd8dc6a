"""Every fault of a source, provoked; what was there before stays as it was."""

import contextlib
import io
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deepfake.common.errors import PipelineError
from deepfake.data import images, shards
from deepfake.params import DataParams, KaggleParams
from deepfake.sources import kaggle_retry, kaggle_transfer
from tests.support import kaggle_server
from tests.support.faults.archives import ARCHIVES
from tests.support.faults.cases import ERROR, HANDLED, REFUSED, WARNING, Awkward, Case, Trouble
from tests.support.faults.data_sets import DATA_SETS
from tests.support.faults.images import IMAGES
from tests.support.faults.kaggle import KAGGLE, KEY, MOST_ATTEMPTS
from tests.support.faults.page import PAGE_OF_FAULTS, documented
from tests.support.making import content, packed, run, settings, split_files, write, zip_bytes


def names(items: list[Any]) -> list[str]:
    assert len({item.name for item in items}) == len(items)
    return [item.name for item in items]


def in_order(parts: tuple[str, ...], text: str) -> None:
    at = 0
    for part in parts:
        assert part in text[at:], f"{part!r} is not (at this place) in: {text}"
        at = text.index(part, at) + len(part)


@pytest.fixture
def images_before(tmp_path: Path) -> Path:
    """The folder of an earlier run."""
    run(settings(write(tmp_path / "earlier", split_files(2))), tmp_path / "images")
    return tmp_path / "images"


def fails(params: DataParams, says: tuple[str, ...], images_before: Path) -> None:
    """The run ends with an error that says so, and leaves what was there, and nothing else."""
    before, around = content(images_before), sorted(images_before.parent.iterdir())
    with pytest.raises(PipelineError) as caught:
        run(params, images_before)
    in_order(says, str(caught.value))
    assert content(images_before) == before
    assert sorted(images_before.parent.iterdir()) == around


@pytest.mark.parametrize("case", ARCHIVES + DATA_SETS, ids=names(ARCHIVES + DATA_SETS))
def test_sources(case: Case, tmp_path: Path, images_before: Path) -> None:
    (tmp_path / "source").mkdir()
    path = case.make(tmp_path / "source")
    outside = content(tmp_path / "earlier")
    if case.outcome == ERROR:
        fails(settings(path, **case.parameters), case.says, images_before)
        return
    if case.outcome == REFUSED:
        reason = f"{case.says[0]}: {case.files}"
        parts = ("cannot be used", reason, "data.max_bad_fraction")
        fails(settings(path, **case.parameters), parts, images_before)
    report = run(settings(path, max_bad_fraction=0.5, **case.parameters), images_before)
    reasons = {case.says[0]: case.files} if case.outcome == REFUSED else {}
    assert report["bad"]["reasons"] == reasons
    warnings = case.says if case.outcome == WARNING else ()
    assert bool(report["warnings"]) == bool(warnings)
    in_order(warnings, "".join(report["warnings"]))
    found = packed(images_before)
    assert all(images.decode(item.data).size for item in found.values())
    assert len(found) == sum(sum(counts.values()) for counts in report["counts"].values())
    assert not {item["path"] for item in report["bad"]["files"]} & set(found)
    assert content(tmp_path / "earlier") == outside
    assert {path.name for path in tmp_path.iterdir()} == {"earlier", "images", "source"}


@pytest.mark.parametrize("case", IMAGES, ids=names(IMAGES))
def test_images(case: Awkward, tmp_path: Path, images_before: Path) -> None:
    data = case.make()
    source = write(tmp_path / "source", split_files() | {"train/real/face.jpg": data})
    if case.outcome == REFUSED:
        parts = (f"{case.says}: 1", f"train/real/face.jpg: {case.says}")
        fails(settings(source), parts, images_before)
        report = run(settings(source, max_bad_fraction=0.5), images_before)
        assert report["bad"]["reasons"] == {case.says: 1}
        assert report["bad"]["files"] == [{"path": "train/real/face.jpg", "reason": case.says}]
        return
    assert run(settings(source), images_before)["bad"]["count"] == 0
    stored = packed(images_before)["train/real/face.jpg"]
    assert stored.data == data
    # What training and scoring see of the shards, and what anyone sees who uses `images.decode`.
    ((_, pixels),) = shards.decoded([stored])
    assert case.right(pixels)
    assert images.facts(data).width == pixels.shape[1] or "turned" in case.name
    assert np.array_equal(pixels, images.decode(data))


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A server with a data set of two versions; the first is in the cache."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / "project"))
    for name in kaggle_server.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    with contextlib.redirect_stdout(io.StringIO()):
        from kaggle.api.kaggle_api_extended import KaggleApi
    from kagglesdk import kaggle_env

    monkeypatch.setattr(KaggleApi, "config", str(home / "kaggle.json"))
    monkeypatch.setattr(kaggle_retry, "FIRST_WAIT", 0.01)
    monkeypatch.setattr(kaggle_retry, "MOST_ATTEMPTS", MOST_ATTEMPTS)
    monkeypatch.setattr(kaggle_transfer, "PATIENCE", 0.5)
    monkeypatch.setattr(kaggle_transfer, "CHUNK", 1000)
    monkeypatch.setenv("KAGGLE_API_TOKEN", kaggle_server.TOKEN)
    archives = {(*KEY[:2], 1): zip_bytes(split_files(2)), KEY: zip_bytes(split_files())}
    with kaggle_server.KaggleServer(archives) as running:
        endpoints = kaggle_env._env_to_endpoint
        monkeypatch.setitem(endpoints, kaggle_env.KaggleEnv.PROD, running.url)
        run(of_version(1), tmp_path / "images")
        running.requests.clear()
        yield running


def of_version(version: int) -> DataParams:
    dataset = KaggleParams(dataset=f"{KEY[0]}/{KEY[1]}/{version}")
    return settings(source="kaggle", kaggle=dataset, max_gigabytes=0.05)


@pytest.mark.parametrize("case", KAGGLE, ids=names(KAGGLE))
def test_kaggle(
    case: Trouble,
    server: kaggle_server.KaggleServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = server.archives[KEY]
    cache = tmp_path / "project/cache/kaggle/some-one/faces"
    if case.downloaded_before:
        run(of_version(2), tmp_path / "elsewhere")
        (cache / "2/archive.zip").unlink()
        recorded = (cache / "2/archive.sha256").read_text()
    for name, value in case.environment.items():
        monkeypatch.setenv(name, value)
    before = content(cache / "1")
    case.make(server)
    server.requests.clear()
    started = time.monotonic()
    if case.outcome == HANDLED:
        run(of_version(2), tmp_path / "images")
        assert (cache / "2/archive.zip").read_bytes() == whole
        assert len(packed(tmp_path / "images")) == 24
    else:
        assert case.outcome == ERROR
        fails(of_version(2), case.says, tmp_path / "images")
        assert not (cache / "2/archive.zip").exists()
    assert time.monotonic() - started >= case.seconds
    if case.requests is not None:
        assert len(server.paths(kaggle_server.DOWNLOAD)) == case.requests
    if case.downloaded_before:
        assert (cache / "2/archive.sha256").read_text() == recorded
    assert content(cache / "1") == before
    run(of_version(1), tmp_path / "images")  # needs neither network nor credentials
    assert len(packed(tmp_path / "images")) == 12


def test_the_documentation_is_of_this_list() -> None:
    page = PAGE_OF_FAULTS.read_text(encoding="utf-8")
    assert page == documented(page), "run `make docs`"
    assert page.count("\n| ") > len(ARCHIVES + DATA_SETS + IMAGES + KAGGLE)
