"""A small exported detector for the tests of this room."""

from pathlib import Path

import pytest

from deepfake.serving.detector import Detector
from tests.support.serving import small_detector


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small exported detector; `image.keras` beside it is its model."""
    return small_detector(tmp_path_factory.mktemp("exported") / "detector")


@pytest.fixture(scope="session")
def detector(exported: Path) -> Detector:
    return Detector.load(exported)
