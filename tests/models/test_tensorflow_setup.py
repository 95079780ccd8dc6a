"""TensorFlow made ready: what is imported with it, and what is not."""

import subprocess
import sys
from collections.abc import Callable

import pytest

from deepfake.models import tensorflow_setup

START = """
import sys
import scipy.sparse
from deepfake.models import tensorflow_setup
tensorflow_setup.start(seed=1, precision="float32")
print([name for name in ("sklearn", "matplotlib", "pandas", "scipy.stats") if name in sys.modules])
import matplotlib, scipy.stats, sklearn.metrics
print(sys.modules["scipy"] is scipy and scipy.sparse.issparse(scipy.sparse.eye(2)))
"""


def test_keras_starts_without_what_is_not_used_through_it(
    python: Callable[..., tuple[list[str], dict[str, str]]],
) -> None:
    command, environment = python(START)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", "True"]


def test_packages_are_absent_in_the_block_alone() -> None:
    loaded = sys.modules["json"]
    with tensorflow_setup._absent("json", "turtledemo"):
        with pytest.raises(ModuleNotFoundError):
            import json  # noqa: F401
        with pytest.raises(ModuleNotFoundError):
            import turtledemo  # noqa: F401
    assert sys.modules["json"] is loaded
    assert "turtledemo" not in sys.modules
