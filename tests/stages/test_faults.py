"""Every fault of what stages keep and hand on, provoked."""

from pathlib import Path

import pytest

from tests.support.faults.cases import Attack
from tests.support.faults.state import STATE


def test_names_are_distinct() -> None:
    assert len({case.name for case in STATE}) == len(STATE)


@pytest.mark.parametrize("case", STATE, ids=[case.name for case in STATE])
def test_faults(case: Attack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DVC_STAGE", raising=False)
    told = case.provoke(tmp_path)
    for part in case.says:
        assert part in told, f"{part!r} is not (at this place) in: {told}"
        told = told[told.index(part) + len(part) :]
    assert "\n" not in told.strip()
