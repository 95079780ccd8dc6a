"""Run `make verify` and `make sweep` in a clone."""

import re

import pytest

from tests.pipeline.test_recipes import RECIPES
from tools.experiments import experiment_name

pytestmark = pytest.mark.slow

ROW = r"\| c-[0-9a-f]{8} \| ([\d.]+) \|"  # of an experiment of the sweep, and its log loss


def test_two_runs_give_the_same_bytes(fresh_clone):
    printed = fresh_clone.run("python", "-m", "tools.verify")
    agreeing, total = re.search(r"(\d+) of (\d+) files agree", printed).groups()
    assert agreeing == total
    for path in ("dvc.lock", "data/models/image.keras", "plots/roc.png", "report.md"):
        assert re.search(rf"\| {re.escape(path)} \| [\d,]+ \| yes \|", printed)


@pytest.mark.exhaustive
@pytest.mark.parametrize("recipe", RECIPES)
def test_two_runs_of_a_recipe_give_the_same_bytes(fresh_clone, recipe):
    changes = [f"-S{change}" for change in (f"train.recipe={recipe}", *RECIPES[recipe])]
    printed = fresh_clone.run("python", "-m", "tools.verify", *changes)
    agreeing, total = re.search(r"(\d+) of (\d+) files agree", printed).groups()
    assert agreeing == total
    assert re.search(r"\| data/models/image\.keras \| [\d,]+ \| yes \|", printed)


def test_sweep_runs_what_is_missing_and_lists_the_best_first(computed_clone):
    file = computed_clone.path / "small.yaml"
    file.write_text("name: c\nsort: baseline.valid.log_loss\ngrid: {baseline.C: [0.001]}\n")
    printed = computed_clone.run("python", "-m", "tools.sweep", "small.yaml")
    assert len(re.findall(ROW, printed)) == 1
    file.write_text(file.read_text().replace("0.001", "0.001, 0.5"))
    printed = computed_clone.run("python", "-m", "tools.sweep", "small.yaml")
    losses = [float(value) for value in re.findall(ROW, printed)]
    assert len(losses) == 2
    assert losses == sorted(losses)
    new, old = (experiment_name("c", {"baseline.C": value}) for value in (0.5, 0.001))
    assert f"{new}: success" in printed
    assert f"{old}: " not in printed
