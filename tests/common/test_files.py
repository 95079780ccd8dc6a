"""Files are never half written, and equal content gives equal bytes."""

import hashlib
import json
import math
import os
from pathlib import Path

import numpy as np
import pytest

from deepfake.common.errors import PipelineError
from deepfake.common.files import read_json, replacing, rounded, sha256_file, write_json, write_text


def test_a_file_is_replaced_when_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("old")
    with replacing(path) as partial:
        partial.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_a_failure_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, error: type[BaseException]
) -> None:
    path = tmp_path / "table.csv"
    path.write_text("old")

    def write() -> None:
        with replacing(path) as partial:
            partial.write_text("half of the n")
            raise error

    with pytest.raises(error):
        write()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_without_an_old_file_leaves_nothing(tmp_path: Path) -> None:
    def write() -> None:
        with replacing(tmp_path / "new.csv") as partial:
            partial.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write()
    assert list(tmp_path.iterdir()) == []


def test_a_failed_rename_removes_what_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OSError, match="disk full"):
        write_text(tmp_path / "a.txt", "text")
    assert list(tmp_path.iterdir()) == []


def test_a_block_that_writes_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "a.txt"):
        pass


def test_the_temporary_file_is_in_the_same_folder_and_keeps_the_suffix(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "model.weights.h5"
    with replacing(path) as partial:
        assert partial.parent == path.parent
        assert partial.name.endswith(".weights.h5")
        assert partial.name.startswith(".")
        partial.touch()
    assert path.is_file()


def test_text_has_unix_line_ends_and_utf8(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "é\nb\n")
    assert (tmp_path / "a.txt").read_bytes() == b"\xc3\xa9\nb\n"


def test_json_keeps_the_order_given_and_is_readable(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"b": 1, "a": {"z": "é", "y": None}})
    expected = '{\n  "b": 1,\n  "a": {\n    "z": "é",\n    "y": null\n  }\n}\n'
    assert path.read_text(encoding="utf-8") == expected
    assert read_json(path) == {"b": 1, "a": {"z": "é", "y": None}}


def test_floats_are_rounded_to_six_decimals_at_every_depth() -> None:
    value = {"a": 1 / 3, "b": [2 / 3, (1e-7, {"c": 123456.7890123})], "n": 12345678901}
    assert rounded(value) == {
        "a": 0.333333,
        "b": [0.666667, [0.0, {"c": 123456.789012}]],
        "n": 12345678901,
    }


def test_only_floats_are_touched() -> None:
    value = {"flag": True, "count": 3, "text": "0.12345678", "none": None}
    assert rounded(value) == value
    assert rounded(True) is True


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_becomes_null_so_that_the_json_is_valid(
    tmp_path: Path, value: float
) -> None:
    write_json(tmp_path / "a.json", {"a": value})
    assert json.loads((tmp_path / "a.json").read_text(), parse_constant=pytest.fail) == {"a": None}


def test_numpy_doubles_are_rounded_too(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", np.float64(1) / 3)
    assert (tmp_path / "a.json").read_text() == "0.333333\n"


def test_zero_has_no_sign() -> None:
    assert math.copysign(1, rounded(-1e-9)) == 1


@pytest.mark.parametrize("content", [b"", b"abc", bytes(range(256)) * 5000])
def test_sha256_of_a_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    assert sha256_file(path) == hashlib.sha256(content).hexdigest()


def test_sha256_of_a_known_text(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    assert sha256_file(path).startswith("ba7816bf8f01cfea414140de5dae2223b00361a3")


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="Linux alone has /proc")
def test_what_is_renamed_into_place_is_on_the_disk_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a power failure the file is the old or the new one, and its name is there."""
    calls: list[str] = []
    fsync, replace = os.fsync, os.replace

    def synced(number: int) -> None:
        calls.append(f"sync {Path(os.readlink(f'/proc/self/fd/{number}')).name}")
        fsync(number)

    def renamed(source: Path, target: Path) -> None:
        calls.append(f"rename to {Path(target).name}")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", renamed)
    write_text(tmp_path / "a.txt", "text")
    partial = f".partial-{os.getpid()}-a.txt"
    assert calls == [f"sync {partial}", "rename to a.txt", f"sync {tmp_path.name}"]


def test_a_damaged_file_is_named_and_a_missing_one_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    with pytest.raises(FileNotFoundError):
        read_json(path)
    path.write_text("{")
    with pytest.raises(PipelineError, match=r"a\.json is damaged: .*`dvc checkout -f .*a\.json`"):
        read_json(path)
