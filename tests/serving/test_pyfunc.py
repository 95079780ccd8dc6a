"""The model that is logged to MLflow, as MLflow loads and serves it."""

import base64
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import mlflow
import numpy as np
import pandas as pd
import pytest

from benchmarks.ports import free_port
from deepfake.data.images import decode
from deepfake.serving.detector import Detector
from deepfake.tracking.model_files import write_detector
from tests.support.documented import answers
from tests.support.faults.cases import HANDLED
from tests.support.faults.images import IMAGES
from tests.support.making import image_file

pytestmark = pytest.mark.slow  # TensorFlow makes the detector

FILES = [image_file(1), image_file(2)]


@pytest.fixture(scope="module")
def logged(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the model, as MLflow has it."""
    folder = tmp_path_factory.mktemp("logged") / "model"
    folder.mkdir()
    write_detector(exported, exported.parent / "image.keras", folder)
    return folder


@pytest.fixture(scope="module")
def model(logged: Path) -> Any:
    return mlflow.pyfunc.load_model(str(logged))


@pytest.fixture(scope="module")
def scores(detector: Detector) -> list[float]:
    return [round(found.score or 0, 6) for found in detector.predict(FILES)]


def in_base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


PIXELS = [decode(data) for data in FILES]
GIVEN: dict[str, Callable[[], Any]] = {
    "a table of bytes": lambda: pd.DataFrame({"image": FILES}),
    "a table of base64": lambda: pd.DataFrame({"image": [in_base64(data) for data in FILES]}),
    "a column without its name, as Spark gives": lambda: pd.DataFrame({0: FILES}),
    "a dict": lambda: {"image": FILES},
    "a dict of arrays": lambda: {"image": np.array([in_base64(data) for data in FILES])},
    "a list": lambda: FILES,
    "pixels": lambda: np.stack(PIXELS),
    "pixels from JSON": lambda: np.stack(PIXELS).astype("int64"),
    "pixels of images in a table": lambda: pd.DataFrame({"image": PIXELS}),
}


@pytest.mark.parametrize("form", GIVEN)
def test_images_in_every_form_get_their_scores(model: Any, scores: list[float], form: str) -> None:
    found = model.predict(GIVEN[form]())
    assert list(found) == ["score", "verdict", "reason"]
    assert found["score"].tolist() == scores
    assert set(found["verdict"]) <= {"real", "fake", "uncertain"}
    assert found["reason"].tolist() == [None, None]


def test_awkward_images_get_a_row_each(model: Any) -> None:
    found = model.predict(pd.DataFrame({"image": [case.make() for case in IMAGES]}))
    expected = [None if case.outcome == HANDLED else case.says for case in IMAGES]
    assert found["reason"].tolist() == expected
    assert found["score"].notna().tolist() == [reason is None for reason in expected]


def test_text_that_is_not_base64_is_refused_alone(model: Any, scores: list[float]) -> None:
    found = model.predict(pd.DataFrame({"image": ["no base64!", in_base64(FILES[0])]}))
    assert found["reason"].tolist() == ["not base64", None]
    assert found["score"].tolist() == [None, scores[0]]


@pytest.mark.parametrize("missing", [None, float("nan"), pd.NA])
def test_an_image_that_a_table_does_not_have_is_refused_alone(
    model: Any, scores: list[float], missing: Any
) -> None:
    found = model.predict(pd.DataFrame({"image": [missing, FILES[0]]}, dtype=object))
    assert found["reason"].tolist() == ["empty file", None]
    assert found["score"].tolist() == [None, scores[0]]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (pd.DataFrame({"a": FILES, "b": FILES}), "column `image`; received a, b"),
        (np.zeros((1, 8, 8, 3)), "float64"),
        (np.zeros((1, 8, 8, 4), "uint8"), r"\(8, 8, 4\)"),
        (np.full((1, 8, 8, 3), 256), "256"),
    ],
)
def test_what_is_no_image_is_refused_in_a_sentence(model: Any, given: Any, says: str) -> None:
    with pytest.raises(mlflow.exceptions.MlflowException, match=says):
        model.predict(given)


def test_what_the_model_says_of_itself(logged: Path, model: Any, scores: list[float]) -> None:
    described = mlflow.models.Model.load(logged)
    assert set(described.flavors) == {"python_function", "tensorflow"}
    assert described.signature.outputs.input_names() == ["score", "verdict", "reason"]
    assert len(model.predict(described.load_input_example(str(logged)))) == 1
    assert "tensorflow" not in (logged / "requirements.txt").read_text()


def test_it_is_loaded_where_the_library_is_not(
    logged: Path, scores: list[float], tmp_path: Path
) -> None:
    for number, data in enumerate(FILES):
        (tmp_path / f"{number}.png").write_bytes(data)
    code = """
import sys
from pathlib import Path
import mlflow, pandas as pd
model = mlflow.pyfunc.load_model(sys.argv[1])
files = [path.read_bytes() for path in sorted(Path.cwd().glob("*.png"))]
print(model.predict(pd.DataFrame({"image": files}))["score"].tolist())
import deepfake
assert deepfake.__file__.startswith(sys.argv[1]), deepfake.__file__
assert not {"tensorflow", "pyarrow.parquet", "sklearn"} & {*sys.modules}
"""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(logged)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == scores


def test_mlflow_serves_it(logged: Path, scores: list[float], tmp_path: Path) -> None:
    (tmp_path / "face.jpg").write_bytes(FILES[0])
    records = {"dataframe_records": [{"image": in_base64(data)} for data in FILES]}
    inputs = {"inputs": {"image": [in_base64(data) for data in FILES]}}
    with serving(logged) as address:
        for sent in (records, inputs, {"inputs": np.stack(PIXELS).tolist()}):
            answer = httpx.post(f"{address}/invocations", json=sent, timeout=60)
            assert answer.status_code == 200, answer.text
            assert [row["score"] for row in answer.json()["predictions"]] == scores
        (told,) = answers("docs/service.md", "http://127.0.0.1:5001", address, tmp_path)
        assert json.loads(told)["predictions"][0]["score"] == scores[0]
        bad = {"dataframe_records": [{"image": in_base64(b"text")}, {"image": "no base64!"}]}
        answer = httpx.post(f"{address}/invocations", json=bad, timeout=60)
        assert [row["reason"] for row in answer.json()["predictions"]] == [
            "not an image",
            "not base64",
        ]
        answer = httpx.post(f"{address}/invocations", json={"inputs": [[0.5]]}, timeout=60)
        assert answer.status_code == 400
        assert "uint8" in answer.text
        assert "Traceback" not in answer.text


@contextmanager
def serving(logged: Path) -> Iterator[str]:
    """The address of `mlflow models serve` in the block."""
    port = free_port()
    server = subprocess.Popen(
        f"{sys.executable} -m mlflow models serve --env-manager local".split()
        + f"--model-uri {logged} --port {port}".split(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        # It starts uvicorn by its name.
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        start_new_session=True,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        wait_for(f"{address}/ping", server)
        yield address
    finally:
        os.killpg(server.pid, 15)
        server.wait(30)


def wait_for(address: str, server: subprocess.Popen[bytes]) -> None:
    """Return when the server answers."""
    for _ in range(600):
        try:
            if httpx.get(address).status_code == 200:
                return
        except httpx.TransportError:
            assert server.poll() is None, "the server ended"
        time.sleep(0.2)
    raise AssertionError("the server did not start")
