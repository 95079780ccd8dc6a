"""The files of a directory: what cannot be listed, what is no file any more, where links lead."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deepfake.common.errors import PipelineError
from deepfake.ingest.inspection import inspect
from deepfake.sources import directory
from deepfake.sources.archive import Archive
from deepfake.sources.base import Unreadable
from tests.support.making import LIMITS, run, settings, split_files, write


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "data", split_files())


@pytest.fixture
def forbidden(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One folder may not be listed. (Tests may run as root, who may list all.)"""
    listing = os.scandir

    def scandir(path: Any) -> Any:
        if str(path).endswith("train/real"):
            raise PermissionError(13, "Permission denied")
        return listing(path)

    monkeypatch.setattr(os, "scandir", scandir)
    yield
    monkeypatch.undo()


@pytest.mark.usefixtures("forbidden")
def test_a_folder_that_cannot_be_listed_is_an_error(folder: Path, tmp_path: Path) -> None:
    message = "folder train/real cannot be listed: Permission denied"
    with pytest.raises(PipelineError, match=message):
        run(settings(folder), tmp_path / "images")
    with pytest.raises(PipelineError, match=message):
        inspect(str(folder), settings(folder), seed=1)


def test_a_file_that_became_a_pipe_is_not_waited_for(folder: Path) -> None:
    with Archive(folder, LIMITS) as archive:
        path = folder / "train/real/0.png"
        path.unlink()
        os.mkfifo(path)
        with pytest.raises(Unreadable, match="link or special file"):
            archive.read("train/real/0.png")


def test_links_inside_the_folder_are_followed(folder: Path) -> None:
    (folder / "train/real/again.png").symlink_to(folder / "train/real/0.png")
    (folder / "more").symlink_to(folder / "train")
    found = dict(directory.listed(folder))
    assert not any(isinstance(member, str) for member in found.values())
    assert "train/real/again.png" in found or "more/real/again.png" in found
    assert len(found) == len(split_files()) + 1


def test_folders_of_junk_are_not_listed(folder: Path) -> None:
    (folder / ".hidden").symlink_to("/")
    assert set(dict(directory.listed(folder))) == set(split_files())
