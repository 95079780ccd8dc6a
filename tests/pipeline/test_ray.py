"""On a Ray cluster of two nodes, one of which is killed: embeddings, and a sweep."""

import json
import tempfile
import time
from pathlib import Path

import mlflow
import pytest
import yaml

from benchmarks import ray_nodes

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
    with ray_nodes.running(2) as nodes:
        printed = clone.run("python", "-m", "stages.embed", **nodes.environment)
        assert "embed: on a Ray cluster, 2 nodes, 2 at a time\n" in printed
        assert "embed: computed by 2 nodes\n" in printed
        assert embeddings(clone) == expected
        process = clone.start("python", "-m", "stages.embed", **nodes.environment)
        wait_until_kept(clone.path / "cache", len(expected["train.npy"]) // 4)
        nodes.kill_node()
        printed, _ = process.communicate(timeout=300)
    assert process.returncode == 0, printed
    assert "computed by 2 nodes, of which 1 was lost" in printed
    assert embeddings(clone) == expected
    client = mlflow.MlflowClient(f"sqlite:///{clone.path}/mlflow.db")
    names = [found.experiment_id for found in client.search_experiments()]
    runs = client.search_runs(names, "tags.ray_nodes = '2'")
    assert sorted(run.data.tags["ray_nodes_lost"] for run in runs) == ["0", "1"]


SWEEP = """\
name: ray
experiments:
  - {baseline.C: 0.1}
  - {baseline.C: 0.2}
  - {baseline.C: 0.3}
  - {baseline.C: 0.4}
"""


@pytest.mark.exhaustive
def test_a_sweep_on_two_nodes_one_of_which_is_killed(computed, tmp_path):
    clone = computed.copied(tmp_path / "clone")
    (clone.path / "experiments" / "ray.yaml").write_text(SWEEP)
    sweep = ("python", "-m", "tools.sweep", "experiments/ray.yaml", "--executor", "ray")
    clones = set(Path(tempfile.gettempdir()).glob("experiment-*"))
    with ray_nodes.running(2) as nodes:
        process = clone.start(*sweep, **nodes.environment)
        printed = ""
        while "success" not in printed:
            printed += process.stdout.readline()
            assert process.poll() is None, printed
        nodes.kill_node()
        printed += process.communicate(timeout=600)[0]
        assert process.returncode == 0, printed
        again = clone.run(*sweep, **nodes.environment)
    names = [line.split(":")[0] for line in printed.splitlines() if line.endswith(": success")]
    assert len(names) == 4
    assert "computed by 2 nodes, of which 1 was lost" in printed
    assert "on a Ray cluster" not in again  # nothing is run a second time
    assert clone.refs().keys() == set(names)
    assert_two_rows_each(clone, names)
    left = set(Path(tempfile.gettempdir()).glob("experiment-*")) - clones
    assert len(left) <= 1  # on the node that was killed

    here = computed.copied(tmp_path / "here")  # with a cache of its own
    here.run("dvc", "exp", "run", "-n", "here", "-S", "baseline.C=0.1")
    (same,) = (name for name in names if parameters(clone, name)["baseline"]["C"] == 0.1)
    for model in ("image", "baseline", "comparison"):
        path = f"metrics/{model}.json"
        assert json.loads(clone.at(same, path)) == json.loads(here.at("here", path))


def parameters(clone, name: str) -> dict:
    return yaml.safe_load(clone.at(name, "params.yaml"))


def assert_two_rows_each(clone, names: list[str]) -> None:
    client = mlflow.MlflowClient(f"sqlite:///{clone.path}/mlflow.db")
    experiment = client.get_experiment_by_name("deepfake-pipeline")
    runs = client.search_runs([experiment.experiment_id])
    assert {run.info.status for run in runs} == {"FINISHED"}
    rows = [(run.data.tags["experiment"], run.data.tags["row"]) for run in runs]
    expected = [(name, row) for name in names for row in ("image", "baseline")]
    assert sorted(row for row in rows if row[0] != "workspace") == sorted(expected)


def test_a_sweep_on_a_cluster_runs_the_last_commit(computed, tmp_path):
    clone = computed.copied(tmp_path / "clone")
    (clone.path / "experiments" / "ray.yaml").write_text(SWEEP)
    with open(clone.path / "stages" / "train.py", "a") as file:
        file.write("# changed\n")
    sweep = ("python", "-m", "tools.sweep", "experiments/ray.yaml", "--executor", "ray")
    printed = clone.run(*sweep, fails=True)
    assert "error: a cluster runs the last commit, and files differ from it:" in printed
    assert "stages/train.py" in printed
