"""The commands of docs/use.md, as printed."""

import os
import shutil
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deepfake.serving import description
from tests.conftest import ROOT
from tests.pipeline.test_documented_commands import commands
from tests.support.making import zipped
from tests.support.serving import faces

pytestmark = pytest.mark.slow

COMMANDS = [one for one in commands("docs/use.md") if one.startswith("deepfake ")]


@pytest.fixture(scope="module")
def here(tmp_path_factory, exported):
    """A folder with the files that the page names, and with the command on its path."""
    folder = tmp_path_factory.mktemp("use")
    shutil.copytree(exported, folder / "data/detector")
    paths = faces(folder / "portraits", 2)
    shutil.copy(paths[0], folder / "face.jpg")
    shutil.copytree(folder / "portraits", folder / "more")
    files = {path.name: path.read_bytes() for path in paths}
    zipped(folder / "faces.zip", files)
    table = pa.table({"name": list(files), "image": list(files.values())})
    pq.write_table(table, folder / "faces.parquet")
    program = folder / "bin/deepfake"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m deepfake.serving.cli "$@"\n')
    program.chmod(0o755)
    return folder


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_run_as_printed(here, command):
    explains = description.read(here / "data/detector").explanation["method"] is not None
    if "--explain" in command and not explains:
        pytest.skip("the small detector has no explanation")
    path = f"{here / 'bin'}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", command], cwd=here, capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
