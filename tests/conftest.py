"""Fixtures that several test modules share."""

import io
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent


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
