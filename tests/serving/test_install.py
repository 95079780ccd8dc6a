"""`pip install .` alone, in a fresh environment, scores an image with a copied detector."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.support.serving import faces

pytestmark = pytest.mark.slow

HEAVY = {"tensorflow", "tensorflow-cpu", "keras", "mlflow", "dvc", "pandas", "pyarrow", "scipy"}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the programs of a fresh environment that has the project and no extra."""
    place = tmp_path_factory.mktemp("installed")
    source = Path(shutil.copytree(ROOT / "deepfake", place / "source" / "deepfake")).parent
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy2(ROOT / name, source)
    for path in ROOT.glob("requirements*.in"):
        shutil.copy2(path, source)
    subprocess.run([sys.executable, "-m", "venv", place / "venv"], check=True)
    programs = place / "venv" / "bin"
    install = [programs / "python", "-m", "pip", "install", "--quiet", source]
    subprocess.run(install, check=True, cwd=place)
    return programs


def test_an_image_is_scored_without_the_pipelines_packages(
    installed: Path, exported: Path, tmp_path: Path
) -> None:
    listed = subprocess.run(
        [installed / "python", "-m", "pip", "list", "--format", "json"],
        check=True,
        capture_output=True,
    )
    assert not HEAVY & {package["name"] for package in json.loads(listed.stdout)}
    shutil.copytree(exported, tmp_path / "detector")
    (face,) = faces(tmp_path, 1)
    done = subprocess.run(
        [installed / "deepfake", "predict", face, "--model", "detector", "--format", "json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["verdict"] in ("real", "fake", "uncertain")


def test_the_network_that_finds_faces_is_installed(installed: Path, tmp_path: Path) -> None:
    code = "from deepfake.serving import faces; assert faces.NETWORK.is_file(), faces.NETWORK"
    subprocess.run([installed / "python", "-c", code], check=True, cwd=tmp_path)
