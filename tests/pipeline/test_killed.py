"""Runs stopped at random moments end as one does that nobody disturbs: `make torture` in small."""

from pathlib import Path

import pytest

from tests.pipeline.conftest import Clone
from tests.torture.kills import FINE_TUNED, torment

pytestmark = [pytest.mark.slow, pytest.mark.exhaustive]

KILLS, SEED = 4, 2
LONGEST = 25.0  # seconds; half of a whole run, on two idle cores


@pytest.fixture(scope="module")
def lock(computed_clone: Clone) -> bytes:
    """The `dvc.lock` of an undisturbed run."""
    computed_clone.set(train=FINE_TUNED)
    computed_clone.run("dvc", "repro")
    return (computed_clone.path / "dvc.lock").read_bytes()


def test_stopped_runs_end_as_undisturbed_ones(lock: bytes, tmp_path: Path) -> None:
    for kill in torment(tmp_path, lock, KILLS, SEED, LONGEST):
        print(kill)
