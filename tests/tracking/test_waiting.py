"""Calls that end in time, and uploads that may take longer."""

import threading
from pathlib import Path

import pytest

from deepfake.tracking import waiting


def test_a_call_in_time_returns_or_raises_what_it_would_alone() -> None:
    assert waiting.in_time(lambda: 3, 60) == 3
    with pytest.raises(KeyError, match="missing"):
        waiting.in_time(lambda: {}["missing"], 60)


def test_a_call_that_goes_on_is_left_to_itself() -> None:
    over = threading.Event()
    with pytest.raises(TimeoutError, match=r"within 0 s \(tracking.deadline_seconds\)"):
        waiting.in_time(over.wait, 0.1)
    over.set()


def test_an_upload_may_take_longer_by_its_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "_deadline", 10)
    (tmp_path / "more").mkdir()
    (tmp_path / "small").touch()
    (tmp_path / "more" / "large").write_bytes(b" " * 500_000)
    assert waiting.deadline() == 10
    assert waiting.deadline(tmp_path / "more" / "large") == 15
    assert waiting.deadline(tmp_path) == 16
    assert waiting.deadline(tmp_path / "missing") == 10
