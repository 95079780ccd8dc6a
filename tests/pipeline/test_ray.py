"""Embeddings from a Ray cluster of two nodes: the bytes that this machine computes."""

import time
from pathlib import Path

import pytest

from tests.support import ray_cluster

pytestmark = pytest.mark.slow
# Many versions of each image, so that there is time for a node to be lost.
DRAWS = {"augment": {"draws": 40, "shrink": 0.5, "blur": 0.5, "jpeg": 0.5}}


def embeddings(clone) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (clone.path / "data/embeddings").iterdir()}


def wait_until_kept(folder: Path, size: int, seconds: float = 120) -> None:
    """Wait until the unfinished work on `train` is of this size in bytes."""
    deadline = time.monotonic() + seconds
    while sum(path.stat().st_size for path in folder.glob("embed/*/train.rows")) < size:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_the_same_bytes_from_two_nodes_also_if_one_is_killed(computed, tmp_path):
    clone = computed.copied(tmp_path / "clone")
    clone.set(embed=DRAWS)
    clone.run("python", "-m", "stages.embed")
    expected = embeddings(clone)
    clone.set(execution={"executor": "ray", "ray": {"batch_size": 2}})
    with ray_cluster.running(2) as nodes:
        printed = clone.run("python", "-m", "stages.embed", **nodes.environment)
        assert "embed: on a Ray cluster, 2 nodes, 2 at a time\n" in printed
        assert "embed: computed by 2 nodes\n" in printed
        assert embeddings(clone) == expected
        process = clone.start("python", "-m", "stages.embed", **nodes.environment)
        wait_until_kept(clone.path / "cache", len(expected["train.npy"]) // 4)
        nodes.kill_node()
        printed, _ = process.communicate(timeout=300)
    assert process.returncode == 0, printed
    assert "1 node of them left, and the others did its part" in printed
    assert embeddings(clone) == expected
