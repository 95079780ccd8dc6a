"""Every attack on tracking, provoked: the stage goes on, and nothing secret gets out."""

from pathlib import Path

import pytest

from tests.support.faults.cases import WARNING, Attack
from tests.support.faults.tracking import TRACKING
from tests.support.provoking import SECRET


@pytest.mark.parametrize("attack", TRACKING, ids=[attack.name for attack in TRACKING])
def test_tracking(attack: Attack, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = attack.provoke(store, monkeypatch)
    at = 0
    for part in attack.says:
        assert part in said[at:], f"{part!r} is not (at this place) in: {said}"
        at = said.index(part, at) + len(part)
    assert ("warning: " in said) == (attack.outcome == WARNING), said
    assert not [word for word in SECRET.split() if word in said], said
    uploaded = [path for path in store.glob("mlartifacts/**/*") if path.is_file()]
    assert not [path for path in uploaded if SECRET.encode() in path.read_bytes()]
