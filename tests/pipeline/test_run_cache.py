"""Stages that ran before with the same parameters are restored from DVC's run cache.

However an experiment is made: in the workspace, in a temporary copy, or from the queue.
"""

import shutil

import pytest
from dvc.utils.serialize import modify_yaml

from .test_experiments import assert_rows
from .test_queue import wait

pytestmark = pytest.mark.slow

CHANGES = ("-S", "baseline.C=0.5", "-S", "train.weight_decay=0.5")
DEPENDENT = ["baseline", "train", "evaluate", "compare", "export"]


def experiment(clone, way, name, *changes):
    """Run an experiment in one of the ways; returns the stages that were computed."""
    arguments = ("dvc", "exp", "run", "-n", name, *changes)
    if way == "queued":
        clone.run(*arguments, "--queue")
        clone.run("dvc", "queue", "start")
        wait(clone, [name], 1)
        printed = clone.run("dvc", "queue", "logs", name)
    else:
        printed = clone.run(*arguments, *(["--temp"] if way == "temporary" else []))
    return clone.stages_run(printed)


def forget(clone, *stages):
    """Delete the outputs of stages, and what dvc.lock says of them."""
    with modify_yaml(clone.path / "dvc.lock") as lock:
        for stage in stages:
            for out in lock["stages"].pop(stage)["outs"]:
                path = clone.path / out["path"]
                shutil.rmtree(path) if path.is_dir() else path.unlink()


@pytest.fixture(scope="module")
def first(computed_clone):
    """A clone where the changed parameters were computed once, and then changed back."""
    assert experiment(computed_clone, "workspace", "first", *CHANGES) == DEPENDENT
    computed_clone.run("git", "checkout", "-q", ".")
    computed_clone.run("dvc", "checkout")
    return computed_clone


@pytest.mark.parametrize(
    "way", ["workspace", "temporary", pytest.param("queued", marks=pytest.mark.exhaustive)]
)
def test_parameters_seen_before_are_not_computed_again(first, way):
    forget(first, *(stage for stage in DEPENDENT if stage != "compare"))
    assert experiment(first, way, f"again-{way}", *CHANGES) == ["compare"]
    assert first.at(f"again-{way}", "metrics/image.json") == first.at("first", "metrics/image.json")
    assert_rows(first, f"again-{way}", parameters={"baseline.C": "0.5"})
    first.run("git", "checkout", "-q", ".")
    first.run("dvc", "checkout")


def test_every_stage_but_compare_is_restored_without_lock_and_outputs(first):
    metrics = (first.path / "metrics/image.json").read_text()
    (first.path / "dvc.lock").unlink()
    for folder in ("data", "metrics", "plots"):
        shutil.rmtree(first.path / folder)
    assert experiment(first, "workspace", "restored") == ["compare"]
    assert first.at("restored", "metrics/image.json") == metrics
