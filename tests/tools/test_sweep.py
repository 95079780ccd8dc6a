"""Sweeps that list their experiments, run by a stand-in for DVC."""

import re
from pathlib import Path

import pytest

from tests.tools.conftest import written
from tools import clones, sweep


def swept(sweeping: Path, grid: str, name: str = "c") -> None:
    """Run a sweep with this grid."""
    text = f"name: {name}\nsort: baseline.valid.log_loss\ngrid: {grid}\n"
    written(sweeping / "sweep.yaml", text)
    sweep.main()


def test_a_wider_grid_runs_what_is_new_and_shows_each_experiments_own_metric(sweeping, capsys):
    swept(sweeping, "{baseline.C: [0.1, 0.3]}")
    assert len((sweeping / "queued").read_text().splitlines()) == 2
    capsys.readouterr()
    swept(sweeping, "{baseline.C: [0.1, 0.2, 0.3]}")
    assert len((sweeping / "queued").read_text().splitlines()) == 3
    rows = re.findall(r"^\| c-\S+ \| ([\d.]+) \| ([\d.]+) \|$", capsys.readouterr().out, re.M)
    assert [(float(metric), float(value)) for metric, value in rows] == [
        (0.1, 0.1), (0.2, 0.2), (0.3, 0.3),
    ]  # fmt: skip


def test_the_order_of_keys_and_values_does_not_change_what_is_done(sweeping):
    swept(sweeping, "{baseline.C: [0.1, 0.3], seed: [1, 2]}")
    swept(sweeping, "{seed: [2, 1], baseline.C: [0.3, 0.1]}")
    names = (sweeping / "queued").read_text().splitlines()
    assert len(names) == len(set(names)) == 4
    assert all(re.fullmatch(r"c-[0-9a-f]{8}", name) for name in names)


def test_an_experiment_with_other_parameters_does_not_count_as_done(sweeping, capsys):
    swept(sweeping, "{baseline.C: [0.1]}")
    (name,) = (sweeping / "queued").read_text().split()
    clones.change(sweeping / "params.yaml", ["seed=77"])
    with pytest.raises(SystemExit):
        swept(sweeping, "{baseline.C: [0.1]}")
    said = capsys.readouterr().err
    assert f"{name} was run with other parameters" in said
    assert f"dvc exp remove {name}" in said
    swept(sweeping, "{baseline.C: [0.1]}", name="d")
    assert len((sweeping / "queued").read_text().split()) == 2


def test_parameters_without_effect_on_results_may_differ(sweeping):
    swept(sweeping, "{baseline.C: [0.1]}")
    clones.change(sweeping / "params.yaml", ["tracking.experiment=another"])
    swept(sweeping, "{baseline.C: [0.1]}")
    assert len((sweeping / "queued").read_text().split()) == 1
