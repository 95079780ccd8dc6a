"""The same 300 images through every way to use a detector: each gives Keras's scores."""

import base64
import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.ports import free_port
from deepfake.data.images import decode, resized
from deepfake.exporting import runtimes
from deepfake.exporting.conversion import convert
from deepfake.exporting.formats import FORMATS
from deepfake.models import image_model
from deepfake.serving.detector import Detector
from deepfake.tracking.model_files import write_detector
from tests.conftest import ROOT
from tests.serving.test_page import CHROMIUM
from tests.support.networks import SIZE
from tests.support.serving import faces, small_explainable

pytestmark = pytest.mark.slow

IMAGES = 300
SAME = 1e-4  # the most by which a score may differ, but for formats of 16 and 8 bits
AT_A_TIME = 100  # images in one request, and in one upload

Scores = NDArray[np.float64]


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return faces(tmp_path_factory.mktemp("faces"), IMAGES)


@pytest.fixture(scope="module")
def expected(exported: Path, paths: list[Path]) -> Scores:
    """Keras's scores."""
    model = image_model.load(exported.parent / "image.keras")
    pixels = np.stack([decode(path.read_bytes()) for path in paths])
    scores = np.asarray(model.predict(pixels, batch_size=50, verbose=0), "float64")[:, 0]
    assert np.ptp(scores) > 0.1  # they could differ
    return scores


@pytest.fixture(scope="module")
def served(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where `mlflow models serve` answers with the model that was logged."""
    folder = tmp_path_factory.mktemp("logged") / "model"
    folder.mkdir()
    write_detector(exported, exported.parent / "image.keras", folder)
    port = free_port()
    command = ["-m", "mlflow", "models", "serve", "-m", str(folder), "--env-manager", "local"]
    with running([*command, "-p", str(port)], f"http://localhost:{port}/health"):
        yield f"http://localhost:{port}/invocations"


@pytest.fixture(scope="module")
def page(exported: Path) -> Iterator[str]:
    port = free_port()
    command = ["-m", "deepfake.serving.page", "--port", str(port), "--model", str(exported)]
    with running(command, f"http://localhost:{port}/_stcore/health"):
        yield f"http://localhost:{port}"


@contextmanager
def running(command: list[str], health: str) -> Iterator[None]:
    """Run a server in the block; it begins when the server answers."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        # `mlflow models serve` starts uvicorn by its name.
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    server = subprocess.Popen(
        [sys.executable, *command], env=environment, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        for _ in range(600):
            assert server.poll() is None
            with suppress(httpx.HTTPError):
                if httpx.get(health, timeout=5).status_code == 200:
                    break
            time.sleep(0.25)
        yield
    finally:
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGTERM)
        server.wait(60)


def test_python(detector: Detector, paths: list[Path], expected: Scores) -> None:
    assert apart([one.score for one in detector.predict(paths)], expected) < SAME


def test_command_line(exported: Path, paths: list[Path], expected: Scores) -> None:
    command = ["-m", "deepfake.serving.cli", "predict", *map(str, paths), "--format", "json"]
    done = subprocess.run(
        [sys.executable, *command, "--model", str(exported)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    found = {row["name"]: row["score"] for row in map(json.loads, done.stdout.splitlines())}
    assert apart([found[str(path)] for path in paths], expected) < SAME


def test_mlflow_over_http(served: str, paths: list[Path], expected: Scores) -> None:
    found: list[float] = []
    for group in groups(paths):
        rows = [{"image": base64.b64encode(path.read_bytes()).decode()} for path in group]
        answer = httpx.post(served, json={"dataframe_records": rows}, timeout=300)
        assert answer.status_code == 200, answer.text
        found += [row["score"] for row in answer.json()["predictions"]]
    assert apart(found, expected) < SAME


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
def test_page(page: str, paths: list[Path], expected: Scores) -> None:
    playwright = pytest.importorskip("playwright.sync_api")
    found: dict[str, float] = {}
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for group in groups(paths):
            visited = browser.new_page()
            visited.set_default_timeout(300_000)
            visited.goto(page)
            visited.locator("input[type=file]").set_input_files([str(path) for path in group])
            with visited.expect_download() as download:
                visited.get_by_role("button", name="Download as CSV", exact=True).click()
            with open(download.value.path(), encoding="utf-8-sig", newline="") as file:
                rows = list(csv.DictReader(file))
            visited.close()
            assert len(rows) == len(group)
            found |= {Path(row["name"]).name: float(row["score"]) for row in rows}
        browser.close()
    assert apart([found[path.name] for path in paths], expected) < SAME


# In 8 bits the detector of these tests is off by more than its tolerance, and not written;
# tests/exporting/test_agreement.py has one that is not.
@pytest.mark.parametrize("name", [name for name in FORMATS if name != "tflite_int8"])
def test_format(
    name: str, exported: Path, paths: list[Path], expected: Scores, tmp_path: Path
) -> None:
    file = exported / FORMATS[name].file
    if name != "openvino":
        file = tmp_path / FORMATS[name].file
        convert(small_explainable(exported).network, name, file, lambda: iter([]))
    score = runtimes.runtime(name, file, SIZE)
    found = [score(resized(decode(path.read_bytes()), SIZE)) for path in paths]
    assert apart(found, expected) < FORMATS[name].tolerance


def groups(paths: list[Path]) -> list[list[Path]]:
    return [paths[start : start + AT_A_TIME] for start in range(0, len(paths), AT_A_TIME)]


def apart(found: list[float | None], expected: Scores) -> float:
    """The largest difference of a score."""
    return float(np.abs(np.array(found, "float64") - expected).max())
