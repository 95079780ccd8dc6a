"""A stage does not wait for packages that it does not need."""

import subprocess
from collections.abc import Callable

import pytest

pytestmark = pytest.mark.slow

HEAVY = {"keras", "matplotlib", "mlflow", "openvino", "pandas", "sklearn", "tensorflow"}
NEEDED = {
    "ingest": set(),
    "metadata": {"pandas"},
    "baseline": {"pandas", "sklearn"},
    "backbone": set(),
    "embed": set(),
    "train": {"pandas"},
    "evaluate": {"pandas", "sklearn"},
    "compare": {"matplotlib", "pandas", "sklearn"},
}


@pytest.mark.parametrize("stage", NEEDED)
def test_a_stage_imports_only_what_it_needs(
    stage: str, python: Callable[..., tuple[list[str], dict[str, str]]]
) -> None:
    code = f"import stages.{stage}, sys; print(*{HEAVY!r} & {{*sys.modules}})"
    command, environment = python(code)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == NEEDED[stage]
