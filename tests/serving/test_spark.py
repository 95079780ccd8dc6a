"""The lines of docs/spark.md, as printed, on a Spark of this machine with a real registry."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from deepfake.serving.detector import Detector
from deepfake.tracking import champions
from tests.conftest import ROOT
from tests.support.making import image_file
from tests.support.registry import GREEN, log_row, quick_detector
from tests.support.tracking import REQUIRED

pytestmark = pytest.mark.slow

FILES = [image_file(1), image_file(2), b"no image"]
MODEL = "deepfake-pipeline"  # as in the page


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return quick_detector(tmp_path_factory.mktemp("exported") / "detector", GREEN)


@pytest.fixture(scope="module")
def folder(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `faces.parquet`, and a store whose champion is the detector."""
    root = tmp_path_factory.mktemp("repository")
    (root / "image.keras").write_text("a model")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DVC_ROOT", str(root))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        champions.add(MODEL, log_row(REQUIRED, exported, root / "image.keras"), {})
    names = [f"{number}.png" for number in range(len(FILES))]
    pd.DataFrame({"name": names, "image": FILES}).to_parquet(root / "faces.parquet")
    return root


@pytest.fixture(scope="module")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package of Spark; at half a gigabyte it is not in the environment."""
    if shutil.which("java") is None:
        pytest.skip("there is no Java, which Spark needs")
    target = tmp_path_factory.mktemp("spark")
    wanted = (ROOT / "requirements-spark.in").read_text(encoding="utf-8")
    (package,) = re.findall(r"^pyspark\S*", wanted, re.M)
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--target", target, package]
    subprocess.run(install, check=True)
    return target


def test_the_printed_lines_score_a_table(spark: Path, folder: Path, exported: Path) -> None:
    page = (ROOT / "docs/spark.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.S)
    (folder / "score.py").write_text(code)
    environment = {
        **os.environ,
        "PYTHONPATH": str(spark),
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}",
        "PYSPARK_PYTHON": sys.executable,
        "SPARK_LOCAL_IP": "127.0.0.1",
    }
    # A folder of its own: the library is not on the path, only the copy that the model holds.
    done = subprocess.run(
        [sys.executable, "score.py"], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    found = pd.read_parquet(folder / "scores.parquet").set_index("name").sort_index()
    expected = list(Detector.load(exported).predict(FILES))
    for (_, row), one in zip(found.iterrows(), expected, strict=True):
        if one.score is None:
            assert pd.isna(row["score"])
            assert row["reason"] == one.reason
        else:
            assert row["score"] == pytest.approx(one.score, abs=1e-6)
            assert row["verdict"] == one.verdict
