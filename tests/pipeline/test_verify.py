"""`make verify` and `make sweep`, as they are used."""

import re

import pytest

pytestmark = pytest.mark.slow


def test_two_runs_give_the_same_bytes(fresh_clone):
    printed = fresh_clone.run("python", "-m", "tools.verify")
    agreeing, total = re.search(r"(\d+) of (\d+) files agree", printed).groups()
    assert agreeing == total
    for path in ("dvc.lock", "data/models/image.keras", "plots/comparison/roc.png", "report.md"):
        assert re.search(rf"\| {re.escape(path)} \| [\d,]+ \| yes \|", printed)


def test_sweep_runs_what_is_missing_and_lists_the_best_first(computed_clone):
    file = computed_clone.path / "small.yaml"
    file.write_text("name: c\nsort: baseline.valid.log_loss\ngrid: {baseline.C: [0.001, 1.0e-6]}\n")
    printed = computed_clone.run("python", "-m", "tools.sweep", "small.yaml")
    losses = [float(value) for value in re.findall(r"\| c-\d\d \| ([\d.]+) \|", printed)]
    assert len(losses) == 2
    assert losses == sorted(losses)
    file.write_text(file.read_text().replace("1.0e-6", "1.0e-6, 0.5"))
    printed = computed_clone.run("python", "-m", "tools.sweep", "small.yaml")
    assert "c-03: success" in printed
    assert "c-01: " not in printed
    assert len(re.findall(r"\| c-\d\d \|", printed)) == 3
