"""The examples in docstrings, in a folder that has a detector and an image."""

import doctest
import shutil
from pathlib import Path

import pytest

from deepfake.serving import detector
from tests.support.serving import faces

pytestmark = pytest.mark.slow


def test_examples_run(exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(exported, tmp_path / "data" / "detector")
    faces(tmp_path, 1)[0].rename(tmp_path / "face.jpg")
    (tmp_path / "notes.txt").write_text("no image")
    monkeypatch.chdir(tmp_path)
    found = doctest.testmod(detector)
    assert found.attempted >= 7
    assert found.failed == 0
    assert (tmp_path / "why.png").is_file()
