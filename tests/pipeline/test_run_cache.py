"""Stages that ran before with the same parameters are restored from DVC's run cache."""

import shutil

import pytest

from .test_experiments import assert_rows

pytestmark = pytest.mark.slow

CHANGES = ("-S", "baseline.C=0.5", "-S", "backbone.image_size=64")


def test_parameters_seen_before_are_not_computed_again(computed_clone):
    clone = computed_clone
    printed = clone.run("dvc", "exp", "run", "-n", "first", *CHANGES)
    assert clone.stages_run(printed) == [
        "baseline", "backbone", "embed", "train", "evaluate", "compare",
    ]  # fmt: skip
    clone.run("git", "checkout", "-q", ".")
    clone.run("dvc", "checkout")
    printed = clone.run("dvc", "exp", "run", "-n", "second", *CHANGES)
    assert clone.stages_run(printed) == ["compare"]
    for name in ("first", "second"):
        assert clone.at(name, "metrics/image.json") == clone.at("first", "metrics/image.json")
    assert_rows(clone, "second", parameters={"baseline.C": "0.5"})


def test_every_stage_but_compare_is_restored_without_lock_and_outputs(computed_clone):
    clone = computed_clone
    clone.run("git", "checkout", "-q", ".")
    metrics = (clone.path / "metrics/image.json").read_text()
    (clone.path / "dvc.lock").unlink()
    for folder in ("data", "metrics", "plots"):
        shutil.rmtree(clone.path / folder)
    printed = clone.run("dvc", "exp", "run", "-n", "restored")
    assert clone.stages_run(printed) == ["compare"]
    assert (clone.path / "metrics/image.json").read_text() == metrics
    assert_rows(clone, "restored")
