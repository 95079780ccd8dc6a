"""`deepfake predict --executor ray` on two nodes: the rows that this machine writes."""

import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks import ray_nodes
from tests.conftest import ROOT
from tests.support import s3_server
from tests.support.serving import faces

pytestmark = pytest.mark.slow


def predict(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "deepfake.serving.cli", "predict", *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True, text=True, timeout=300, stdin=subprocess.DEVNULL,
    )  # fmt: skip


def test_a_cluster_gives_the_same_rows_of_a_folder_a_bucket_and_a_table(
    exported, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    paths = faces(Path("faces"), 150)
    Path("faces/cut.jpg").write_bytes(paths[0].read_bytes()[:900])
    pq.write_table(
        pa.table({"image": [path.read_bytes() for path in paths[70:]]}), "faces.parquet",
        row_group_size=30,
    )  # fmt: skip
    given = ("faces", "s3://faces/portraits", "faces.parquet", "--model", str(exported))
    with s3_server.serving() as s3, pytest.MonkeyPatch.context() as patch:
        s3_server.use(patch, s3.address, tmp_path / "no-keys-here")
        s3.put({f"portraits/{path.name}": path.read_bytes() for path in paths[:70]})
        here = predict(*given, "--output", "here.parquet")
        with ray_nodes.running(2) as nodes:
            there = predict(
                *given, "--output", "there.parquet", "--executor", "ray", **nodes.environment
            )
            refused = predict(
                "-", "--model", str(exported), "--executor", "ray", **nodes.environment
            )
    assert (here.returncode, there.returncode) == (3, 3), here.stderr + there.stderr
    assert "on a Ray cluster, 2 nodes, 2 at a time" in there.stderr
    assert "computed by 2 nodes" in there.stderr
    expected = pq.read_table("here.parquet")
    assert expected.num_rows == 151 + 70 + 80
    assert pq.read_table("there.parquet") == expected
    assert expected["reason"].to_pylist().count("truncated") == 1
    assert refused.returncode == 1
    assert refused.stderr.splitlines()[-1].startswith("error: other machines cannot read standard")
