"""Values arrive in params.yaml as they were meant."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from dvc.utils.hydra import apply_overrides

from deepfake.common.overrides import written
from deepfake.common.yaml12 import parse_yaml

VALUES = [
    "a b", "it's", 'say "x"', "ü.zip", "back\\slash", "end\\", 'b\\"', "${x}",
    "a\\${x}", "a\\\\${x}", "1e5", "null", "",
    0.001, 1e-05, 1e16, 3, None, True, [], [1, 2], ["a", "b, c"], {"fpr": 0.01},
    [{"name": "celeb", "path": "ü.zip"}],
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES)
def test_dvc_writes_what_was_written(tmp_path: Path, value: Any) -> None:
    path = tmp_path / "params.yaml"
    path.write_text("key: 1\n")
    apply_overrides(path, [f"key={written(value)}"])
    found = parse_yaml(path.read_text())["key"]
    assert found == value
    assert type(found) is type(value)


def test_a_whole_section_arrives(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    shutil.copy(Path(__file__).parents[2] / "params.yaml", path)
    values = parse_yaml(path.read_text())
    changes = [f"train.{key}={written(value)}" for key, value in values["train"].items()]
    apply_overrides(path, changes)
    assert parse_yaml(path.read_text()) == values
