"""A stage does not wait for packages that it does not need, or not itself."""

import subprocess
from collections.abc import Callable

import pytest

from deepfake.evaluation.results import PACKAGES
from deepfake.metadata import baseline
from stages import metadata

HEAVY = {"keras", "matplotlib", "mlflow", "openvino", "pandas", "sklearn", "tensorflow"}
NEEDED = {
    "ingest": set(),
    "metadata": {"pandas"},
    "baseline": {"pandas"},
    "backbone": set(),
    "embed": set(),
    "train": {"pandas"},
    "evaluate": {"pandas"},
    "compare": {"pandas"},
}


@pytest.mark.parametrize("stage", NEEDED)
def test_a_stage_imports_only_what_it_needs(
    stage: str, python: Callable[..., tuple[list[str], dict[str, str]]]
) -> None:
    code = f"import stages.{stage}, sys; print(*{HEAVY!r} & {{*sys.modules}})"
    command, environment = python(code)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == NEEDED[stage]


def test_metadata_prepares_nothing_that_baseline_does_not_need() -> None:
    assert {*metadata.SOON} <= {*baseline.PACKAGES, *PACKAGES}
