"""What is read while a data set is read: little memory, and an end when the user asks for it."""

from pathlib import Path

import pytest

from tests.support.faults.cases import Attack
from tests.support.faults.reading import READING


@pytest.mark.slow
@pytest.mark.parametrize("case", READING, ids=lambda case: case.name)
def test_reading(case: Attack, tmp_path: Path) -> None:
    said = case.provoke(tmp_path)
    at = 0
    for part in case.says:
        assert part in said[at:]
        at = said.index(part, at) + len(part)
    assert "Traceback" not in said
