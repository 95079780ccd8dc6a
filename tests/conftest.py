"""Fixtures that several test modules share."""

import io
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from deepfake.models import image_model, mobilenet_v2, pooling, tensorflow_setup
from tests.support.networks import LAYERS, SIZE, VIEWS, linear

ROOT = Path(__file__).resolve().parent.parent


def pytest_configure(config: pytest.Config) -> None:
    # A shell's background job ignores Ctrl+C, and so would the programs that tests interrupt.
    if not hasattr(config, "workerinput"):  # pytest-xdist's workers inherit it
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="module", autouse=True)
def tracking_address() -> Iterator[None]:
    """MLflow puts the address that it is told into the environment: each module starts anew."""
    before = os.environ.get("MLFLOW_TRACKING_URI")
    yield
    if mlflow := sys.modules.get("mlflow"):
        mlflow.set_tracking_uri(None)
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    if before is not None:
        os.environ["MLFLOW_TRACKING_URI"] = before


@pytest.fixture
def jpeg() -> Callable[..., bytes]:
    """A maker of JPEG files of noise: `jpeg(width, height, **options of Pillow's writer)`."""

    def make(width: int = 48, height: int = 32, **options: Any) -> bytes:
        pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "JPEG", **options)
        return file.getvalue()

    return make


@pytest.fixture
def python() -> Callable[..., tuple[list[str], dict[str, str]]]:
    """Command and environment of a new Python process that finds the library from any folder:
    `python(code, *arguments, **environment)`."""

    def command(
        code: str, *arguments: Path | str, **environment: str
    ) -> tuple[list[str], dict[str, str]]:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "MPL"))}
        return (
            [sys.executable, "-c", code, *map(str, arguments)],
            {**inherited, "PYTHONPATH": str(ROOT), **environment},
        )

    return command


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with its tables and no experiment: making the tables takes seconds."""
    import mlflow

    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    mlflow.MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture(scope="session")
def network() -> Any:
    """A narrow MobileNetV2 with random weights."""
    tensorflow_setup.start(seed=3, precision="float32")
    return mobilenet_v2.initial("random", 0.35)[0]


@pytest.fixture(scope="session")
def features(network: Any) -> Any:
    """The features of `network`."""
    return pooling.features(network, LAYERS, ["mean", "std"], SIZE)


@pytest.fixture(scope="session")
def scored(features: Any) -> Any:
    """An image model on `features` with a random linear head."""
    dimensions = features.output_shape[-1]
    head = linear(dimensions, np.random.default_rng(0).normal(size=(dimensions, 1)))
    return image_model.assemble(features, image_model.keras_head(head, 0.0), VIEWS, SIZE)
