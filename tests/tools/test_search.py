"""Searches with Optuna's real samplers and studies, and a stand-in for DVC."""

import re
import shutil

import optuna
import pytest
from filelock import FileLock

from deepfake.common.errors import PipelineError
from tests.tools.conftest import written
from tools import clones, experiments, search, shell, sweep, sweep_file
from tools.sweep_file import Dimension

RANGE = "baseline.C: {low: 0.01, high: 1, log: true}"


def opened(project, space, method="tpe", trials=6, jobs=2, more=""):
    text = (
        f"name: s\njobs: {jobs}\n"
        f"search: {{method: {method}, trials: {trials}, metric: baseline.valid.log_loss}}\n"
        f"space: {{{space}}}\n{more}"
    )
    return sweep_file.read(written(project / "sweep.yaml", text))


def searched(project, space, **options):
    """Run a search; returns the overrides of its trials, in no order."""
    named, revisions = search.run(opened(project, space, **options))
    assert revisions.keys() <= named.keys()
    return list(named.values())


def study():
    return optuna.load_study(study_name="s", storage="sqlite:///cache/sweeps/s.db")


@pytest.mark.parametrize("method", ["tpe", "random"])
def test_every_trial_is_a_named_experiment_whose_metric_the_study_has(sweeping, method):
    found = searched(sweeping, RANGE, method=method, trials=3)
    names = (sweeping / "queued").read_text().split()
    assert len(found) == len(names) == 3
    assert all(re.fullmatch(r"s-[0-9a-f]{8}", name) for name in names)
    assert sorted(trial.value for trial in study().trials) == sorted(
        one["baseline.C"] for one in found
    )
    assert study().best_value == min(one["baseline.C"] for one in found)


def test_tpe_learns(sweeping):
    searched(sweeping, "baseline.C: {low: 0.01, high: 1}", trials=20, jobs=5)
    values = [trial.value for trial in study().trials]
    assert sum(values[10:]) < 0.7 * sum(values[:10])


def test_the_seed_decides_what_is_tried(sweeping):
    first = searched(sweeping, RANGE, trials=1)
    shutil.rmtree(search.STUDIES)
    assert searched(sweeping, RANGE, trials=1) == first
    shutil.rmtree(search.STUDIES)
    clones.change(sweeping / "params.yaml", ["seed=7"])
    shell.git("commit", "-qam", "another seed")
    assert searched(sweeping, RANGE, trials=1) != first


def test_a_grid_tries_each_combination_once(sweeping):
    space = "baseline.C: {choices: [0.5, 0.1]}, baseline.max_iter: {low: 10, high: 30, step: 10}"
    found = searched(sweeping, space, method="grid", trials=100, jobs=4)
    assert sorted((one["baseline.C"], one["baseline.max_iter"]) for one in found) == [
        (c, n) for c in (0.1, 0.5) for n in (10, 20, 30)
    ]
    assert len((sweeping / "queued").read_text().split()) == 6


def test_choices_may_be_lists(sweeping):
    space = "train.hidden: {choices: [[], [8], [8, 4]]}, train.weight_decay: {choices: [0.1]}"
    found = searched(sweeping, space, method="grid", trials=3)
    assert [one["train.hidden"] for one in found] == [[], [8], [8, 4]]


def test_more_trials_continue_and_try_something_new(sweeping):
    first = searched(sweeping, RANGE, method="random", trials=2)
    assert searched(sweeping, RANGE, method="random", trials=2) == first
    more = searched(sweeping, RANGE, method="random", trials=4)
    assert more[:2] == first
    assert len({one["baseline.C"] for one in more}) == 4


def test_a_trial_that_was_stopped_is_run_first(sweeping, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as stopped:
        stopped.setattr(experiments, "run", stop)
        with pytest.raises(KeyboardInterrupt):
            search.run(opened(sweeping, RANGE, trials=2))
    begun = [trial.params["baseline.C"] for trial in study().trials]
    found = searched(sweeping, RANGE, trials=2)
    assert [one["baseline.C"] for one in found] == begun
    assert len(study().trials) == 2


def test_a_failed_experiment_is_a_failed_trial(sweeping, monkeypatch, capsys):
    opened(sweeping, "baseline.max_iter: {choices: [1, 9]}", method="grid")
    sweep.main()
    assert [trial.state.name for trial in study().trials] == ["FAIL", "COMPLETE"]
    rows = re.findall(r"^\| s-\w+ \| (\S+) \| (\d) \|$", capsys.readouterr().out, re.M)
    assert rows == [("1.0000", "9"), ("failed", "1")]


def test_values_that_may_not_stand_together_fail_and_the_search_goes_on(sweeping, capsys):
    space = "train.hidden: {choices: [[], [8]]}, train.weight_decay: {choices: [auto, 0.1]}"
    found = searched(sweeping, space, method="grid", trials=4)
    assert len(found) == 3
    assert "auto needs a linear head" in capsys.readouterr().out
    assert [trial.state.name for trial in study().trials].count("FAIL") == 1


@pytest.mark.parametrize(
    ("space", "said"),
    [
        ("baseline.C: {low: -1.5, high: 1}", r"space\.baseline\.C.*\n.*received -1\.5"),
        ("train.schedule: {choices: [linear]}", r"train\.schedule: received 'linear'.*'constant'"),
        ("train.decay: {low: 1, high: 2}", r"params\.yaml has no train\.decay"),
        ("train.epochs: {low: 1, high: 2.5}", r"train\.epochs: received 2\.5"),
    ],
)
def test_a_space_with_values_that_are_not_allowed_is_refused(sweeping, space, said):
    with pytest.raises(PipelineError, match=said):
        searched(sweeping, space)
    assert not search.STUDIES.exists()


def test_a_grid_over_a_range_without_a_step_is_refused(sweeping):
    with pytest.raises(PipelineError, match=r"space\.baseline\.C has no step"):
        searched(sweeping, RANGE, method="grid")
    assert not search.STUDIES.exists()


def test_a_study_of_another_space_is_refused(sweeping):
    searched(sweeping, RANGE, trials=2)
    queued = (sweeping / "queued").read_text()
    said = (
        r"space\.baseline\.C is .*0\.5.* but the study in cache/sweeps/s\.db was begun with: "
        r".*0\.01.*another name"
    )
    with pytest.raises(PipelineError, match=said):
        searched(sweeping, RANGE.replace("0.01", "0.5"))
    with pytest.raises(PipelineError, match=r"space\.seed is .* begun with: not given"):
        searched(sweeping, RANGE + ", seed: {choices: [1]}")
    clones.change(sweeping / "params.yaml", ["train.dropout=0.5"])
    with pytest.raises(PipelineError, match=r"train\.dropout is 0\.5, but .* begun with: 0\.0"):
        searched(sweeping, RANGE)
    assert (sweeping / "queued").read_text() == queued


@pytest.mark.parametrize(
    ("dimension", "expected"),
    [
        (Dimension(low=0, high=1), optuna.distributions.FloatDistribution(0, 1)),
        (Dimension(low=1, high=9, step=2), optuna.distributions.IntDistribution(1, 9, step=2)),
        (
            Dimension(low=0, high=1, step=0.5),
            optuna.distributions.FloatDistribution(0, 1, step=0.5),
        ),
    ],
)
def test_a_range_is_of_whole_numbers_only_with_a_whole_step(dimension, expected):
    assert search.distribution(dimension) == expected


def test_a_grid_of_floats_has_round_numbers_and_both_ends():
    values = search.combinations({"x": Dimension(low=0.1, high=0.7, step=0.1)})
    assert [one["x"] for one in values] == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]


def test_a_search_that_runs_already_is_left_alone(sweeping):
    search.STUDIES.mkdir(parents=True)
    with (
        FileLock(search.STUDIES / "s.lock"),
        pytest.raises(PipelineError, match="another process is running the search s"),
    ):
        searched(sweeping, RANGE, trials=2)
    assert len(searched(sweeping, RANGE, trials=2)) == 2
