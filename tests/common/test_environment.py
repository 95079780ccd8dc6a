"""What the process finds installed."""

from importlib.metadata import PackageNotFoundError

import pytest

from deepfake.common import environment
from deepfake.common.environment import installed_version, require_versions


@pytest.mark.parametrize("distribution", ["tensorflow", "tensorflow-cpu"])
def test_tensorflow_is_found_under_either_name(
    distribution: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def version(name: str) -> str:
        if name != distribution:
            raise PackageNotFoundError(name)
        return "2.21.0"

    monkeypatch.setattr(environment, "version", version)
    assert installed_version("tensorflow") == "2.21.0"
    assert installed_version("numpy") is None
    require_versions({"tensorflow": "2.21.0"})
