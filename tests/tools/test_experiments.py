"""The names and parameters of experiments; how they run is in `test_sweep.py`."""

import json
import os
import re
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from deepfake.common.errors import PipelineError
from tests.conftest import ROOT
from tests.tools.conftest import written
from tools import experiments, shell, sync


def test_unusable_parameters_are_refused_by_key_and_value(monkeypatch):
    monkeypatch.chdir(ROOT)
    with pytest.raises(PipelineError, match=r"a-02.*\n.*train\.dropout: received 2"):
        experiments.parameters({"a-01": {"train.dropout": 0.5}, "a-02": {"train.dropout": 2.0}})
    with pytest.raises(PipelineError, match=r"params\.yaml has no train\.drop\.out"):
        experiments.parameters({"a-01": {"train.drop.out": 0.5}})


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"embed.layers": ["block_99_add"]}, "embed.layers: MobileNetV2 has no layer"),
        ({"train.cnn.layers": ["c8", "d1"]}, "train.cnn.layers: received d1 on a map"),
        (
            {"train.recipe": "transfer", "train.transfer.unfreeze_from": "nope"},
            "train.transfer.unfreeze_from: received 'nope'; the blocks of MobileNetV2",
        ),
    ],
)
def test_a_recipe_that_cannot_work_is_refused_before_anything_runs(sweeping, changes, told):
    with pytest.raises(PipelineError, match=f"^b .*{re.escape(told)}"):
        experiments.run({"a": {"baseline.C": 0.5}, "b": changes}, jobs=1)
    assert (sweeping / "queued").read_text() == ""


def test_nothing_runs_if_one_experiment_is_not_allowed(sweeping):
    with pytest.raises(PipelineError, match=r"baseline\.C: received -1"):
        experiments.run({"a": {"baseline.C": 0.5}, "b": {"baseline.C": -1.0}}, jobs=1)
    assert (sweeping / "queued").read_text() == ""


def test_a_failed_experiment_has_no_revision_and_is_queued_again(sweeping):
    named = {"good": {"baseline.C": 0.5}, "bad": {"baseline.max_iter": 1}}
    for _ in range(2):
        revisions = experiments.run(named, jobs=2)
        assert revisions.keys() == {"good"}
        assert sorted((sweeping / "queued").read_text().split()) == ["bad", "good"]
    assert experiments.value(revisions["good"], "baseline.valid.log_loss") == 0.5


def test_the_name_depends_on_every_value_and_not_on_their_order():
    first = experiments.experiment_name("a", {"x": [1], "y": 2})
    assert first == experiments.experiment_name("a", {"y": 2, "x": [1]})
    assert first != experiments.experiment_name("a", {"x": [2], "y": 2})


def test_a_stored_experiment_of_another_schema_does_not_count(sweeping, monkeypatch):
    (revision,) = experiments.run({"a": {"baseline.C": 0.5}}, jobs=1).values()
    monkeypatch.setattr(experiments, "git", lambda *arguments: "baseline: {}")
    assert experiments._stored(revision) is None
    written(sweeping / "queued", "")
    with pytest.raises(PipelineError, match="a was run with other parameters"):
        experiments.run({"a": {"baseline.C": 0.5}}, jobs=1)


def test_a_status_that_dvc_cannot_read_is_asked_for_again(sweeping, monkeypatch):
    working, asked = experiments.dvc, []

    def half_written(*arguments: str) -> str:
        asked.append(arguments)
        if arguments == ("queue", "status") and asked.count(arguments) < 3:
            raise PipelineError("dvc queue status failed: Expecting value: line 1 column 1")
        return working(*arguments)

    monkeypatch.setattr(experiments, "dvc", half_written)
    monkeypatch.setattr(experiments, "_FEWEST_SECONDS", 0)
    assert experiments.run({"a": {"baseline.C": 0.5}}, jobs=1).keys() == {"a"}


def test_a_status_that_dvc_never_can_read_is_its_error(sweeping, monkeypatch):
    def broken(*arguments: str) -> str:
        raise PipelineError(f"dvc {' '.join(arguments)} failed: Expecting value")

    monkeypatch.setattr(experiments, "dvc", broken)
    monkeypatch.setattr(experiments, "_FEWEST_SECONDS", 0)
    with pytest.raises(PipelineError, match="dvc queue status failed: Expecting value"):
        experiments.run({"a": {"baseline.C": 0.5}}, jobs=1)


@pytest.mark.slow
def test_after_a_worker_was_killed_the_queue_goes_on(tmp_path, monkeypatch):
    """With real DVC, which calls the experiment Running for ever."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(experiments, "_MOST_SECONDS", 3)
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "Test")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "test@example.org")
    slow = tmp_path / "slow"
    slow.touch()
    command = f"if test -e {slow}; then sleep 600; fi; cp params.yaml out"
    written(tmp_path / "params.yaml", "a: 1\n")
    stage = {"cmd": command, "params": ["a"], "outs": ["out"]}
    written(tmp_path / "dvc.yaml", json.dumps({"stages": {"one": stage}}))
    written(tmp_path / ".gitignore", "slow\n")
    shell.git("init", "-q", "-b", "main")
    experiments.dvc("init", "-q")
    shell.git("add", "-A")
    shell.git("commit", "-qm", "start")
    missing = {"x": {"a": 2}, "y": {"a": 3}}
    experiments._queue(missing)
    experiments.dvc("queue", "start")
    deadline = time.monotonic() + 120
    while not (family := [p for p in here(tmp_path) if "sleep 600" in " ".join(p.cmdline())]):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert family
    for process in here(tmp_path):
        process.kill()
    slow.unlink()
    experiments._queue(missing)
    experiments._wait(list(missing), 1)
    assert set(experiments._states(["x", "y"]).values()) == {"Success"}


def here(folder):
    """The processes of a folder: DVC's workers, and what they started."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if Path(process.cwd()).is_relative_to(folder):
                found.append(process)
    return [process for process in found if process.pid != os.getpid()]


def test_of_experiments_of_one_name_the_newest_comes_last(sweeping, monkeypatch):
    revisions = []
    for day in ("03", "02"):  # the newer one first, so that its commit's name decides nothing
        monkeypatch.setenv("GIT_COMMITTER_DATE", f"2026-01-{day}T00:00:00Z")
        written(sweeping / "params.yaml", (sweeping / "params.yaml").read_text() + f"# {day}\n")
        shell.git("commit", "-qam", day)
        experiments.dvc("exp", "run", "--queue", "-n", "a", "-Sbaseline.C=0.5")
        revisions.append(dict(sync.experiments())["a"])
    assert len(sync.experiments()) == 2
    assert revisions[0] == revisions[1]
