"""The search of a sweep: Optuna proposes parameters, DVC runs them as experiments.

Optuna is asked for as many trials as may run at the same time; when they have run, it is told what
they came to. Its study is the file `cache/sweeps/NAME.db`, so that a search that was stopped, or is
given more trials, continues.
"""

import itertools
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from deepfake import params
from deepfake.common.errors import PipelineError
from deepfake.evaluation.comparison import LOSSES
from deepfake.tracking.record import flattened
from tools import experiments
from tools.sweep_file import Dimension, Overrides, Sweep

if TYPE_CHECKING:
    import optuna

STUDIES = Path("cache/sweeps")
_BEGUN = "begun with"  # the study's attribute that holds what its trials belong to


def run(sweep: Sweep, executor: str = "local") -> tuple[dict[str, Overrides], dict[str, str]]:
    """Run trials until the study has as many as the sweep wants.

    Args:
        sweep: what is searched.
        executor: as for `experiments.run`.

    Returns:
        The overrides of every trial so far, by the experiment's name, and the revisions of the
        finished experiments by name.

    Raises:
        PipelineError: a value in the space is not allowed, the study belongs to another space, or
            another process runs its trials. Nothing has run then.
    """
    check(sweep)
    study = open_study(sweep)
    try:
        with FileLock(STUDIES / f"{sweep.name}.lock", timeout=0):
            _run_trials(study, sweep, executor)
    except Timeout:
        raise PipelineError(f"another process is running the search {sweep.name}") from None
    tried = dict(_experiment(sweep, trial.params) for trial in _trials(study, sweep))
    named = {name: overrides for name, overrides in tried.items() if _allowed(name, overrides)}
    return named, experiments.finished(experiments.parameters(named))


def _run_trials(study: "optuna.Study", sweep: Sweep, executor: str) -> None:
    """Run trials until the study has as many as are wanted.

    Args:
        executor: as for `experiments.run`.
    """
    while batch := _next(study, sweep):
        trials = {number: _experiment(sweep, values) for number, values in batch.items()}
        allowed = dict(one for one in trials.values() if _allowed(*one))
        revisions = experiments.run(allowed, sweep.jobs, executor)
        for number, (name, _) in trials.items():
            _tell(study, number, revisions.get(name), sweep.metric)


def check(sweep: Sweep) -> None:
    """Refuse a space with a value that `params.yaml` does not allow, before anything runs.

    Raises:
        PipelineError: naming the key, the value and what is allowed; or a range has no step, and
            the method is `grid`.
    """
    for key, dimension in sweep.space.items():
        for value in dimension.extremes:
            experiments.parameters({f"space.{key}": {**sweep.set, key: value}})
    if sweep.search and sweep.search.method == "grid":
        combinations(sweep.space)


def open_study(sweep: Sweep) -> "optuna.Study":
    """Open the sweep's study, or begin it.

    Raises:
        PipelineError: the study was begun with another space, metric or other parameters.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    STUDIES.mkdir(parents=True, exist_ok=True)
    file = STUDIES / f"{sweep.name}.db"
    loss = sweep.metric.rpartition(".")[2] in LOSSES
    study = optuna.create_study(
        storage=f"sqlite:///{file}",
        study_name=sweep.name,
        direction="minimize" if loss else "maximize",
        load_if_exists=True,
    )
    now = _belonging(sweep)
    begun = study.user_attrs.get(_BEGUN)
    if begun is None:
        study.set_user_attr(_BEGUN, now)
    else:
        _refuse_other(file, begun, now)
    study.sampler = _sampler(sweep, len(study.trials))
    return study


def _belonging(sweep: Sweep) -> dict[str, Any]:
    """What the trials of a study have in common, by dotted key: the metric, the space, and the
    parameters that the search does not choose."""
    [settings] = experiments.parameters({sweep.name: sweep.set}).values()
    fixed = flattened(experiments.effective(settings))
    space = {f"space.{key}": one.model_dump(exclude_unset=True) for key, one in sweep.space.items()}
    others = {key: value for key, value in fixed.items() if key not in sweep.space}
    return {"search.metric": sweep.metric, **space, **others}


def _refuse_other(file: Path, begun: dict[str, Any], now: dict[str, Any]) -> None:
    """Refuse a study whose trials cannot be compared with those of this sweep."""
    for key in now | begun:  # the space first
        here, there = (
            json.dumps(values[key]) if key in values else "not given" for values in (now, begun)
        )
        if here != there:
            raise PipelineError(
                f"{key} is {here}, but the study in {file} was begun with: {there}. Give it as it "
                f"was, give the sweep another name, or delete {file}"
            )


def _sampler(sweep: Sweep, trials: int) -> "optuna.samplers.BaseSampler":
    """What proposes the parameters of trials, from `seed` in `params.yaml`.

    Args:
        trials: how many the study has: one that continues must not propose the same again.
    """
    from optuna import samplers

    assert sweep.search is not None
    seed = params.load().seed
    if sweep.search.method == "tpe":
        return samplers.TPESampler(seed=(seed + trials) % 2**32)
    return samplers.RandomSampler(seed=(seed + trials) % 2**32)  # a grid draws nothing


def combinations(space: dict[str, Dimension]) -> list[dict[str, Any]]:
    """Every combination of the values of a space, as Optuna has them.

    Optuna's own sampler of grids ends the last trial with an error where it is asked and told.

    Raises:
        PipelineError: a range has no step.
    """
    values: list[list[Any]] = []
    for key, one in space.items():
        if one.choices is not None:
            values.append([json.dumps(choice) for choice in one.choices])
        elif one.low is not None and one.high is not None and one.step is not None:
            steps = math.floor((one.high - one.low) / one.step + 1e-9)
            values.append([round(one.low + n * one.step, 12) for n in range(steps + 1)])
        else:
            raise PipelineError(
                f"space.{key} has no step: method: grid needs choices, or a range with a step"
            )
    return [dict(zip(space, chosen, strict=True)) for chosen in itertools.product(*values)]


def distribution(dimension: Dimension) -> "optuna.distributions.BaseDistribution":
    """What Optuna draws a parameter from. It takes no lists, so choices are JSON."""
    from optuna import distributions

    if dimension.choices is not None:
        return distributions.CategoricalDistribution([json.dumps(one) for one in dimension.choices])
    low, high, step = dimension.low, dimension.high, dimension.step
    assert low is not None  # as Dimension requires
    assert high is not None
    if isinstance(low, int) and isinstance(high, int) and isinstance(step, int):
        return distributions.IntDistribution(low, high, step=step)
    return distributions.FloatDistribution(float(low), float(high), log=dimension.log, step=step)


def _trials(study: "optuna.Study", sweep: Sweep) -> list["optuna.trial.FrozenTrial"]:
    """The study's trials, but for those that a search was stopped while asking for."""
    return [trial for trial in study.trials if trial.params.keys() == sweep.space.keys()]


def _next(study: "optuna.Study", sweep: Sweep) -> dict[int, dict[str, Any]]:
    """The next trials to run, as Optuna's values by the trial's number; empty at the end.

    Trials that a stopped search has left unfinished come first.
    """
    assert sweep.search is not None
    trials = _trials(study, sweep)
    batch = {one.number: one.params for one in trials if not one.state.is_finished()}
    room = max(0, min(sweep.search.trials - len(trials), sweep.jobs - len(batch)))
    if sweep.search.method == "grid":
        tried = [one.params for one in trials]
        untried = [one for one in combinations(sweep.space) if one not in tried][:room]
        room = len(untried)
        for values in untried:
            study.enqueue_trial(values)
    distributions = {key: distribution(one) for key, one in sweep.space.items()}
    for _ in range(room):
        asked = study.ask(distributions)
        batch[asked.number] = asked.params
    return batch


def _experiment(sweep: Sweep, values: dict[str, Any]) -> tuple[str, Overrides]:
    """The name and the overrides of a trial's experiment."""
    chosen = {
        key: value if sweep.space[key].choices is None else json.loads(value)
        for key, value in values.items()
    }
    overrides = {**sweep.set, **chosen}
    return experiments.experiment_name(sweep.name, overrides), overrides


def _allowed(name: str, overrides: Overrides) -> bool:
    """Whether a trial's values may stand together; if not, says why. The trial then fails."""
    try:
        experiments.parameters({name: overrides})
    except PipelineError as error:
        print(error, flush=True)
        return False
    return True


def _tell(study: "optuna.Study", number: int, revision: str | None, metric: str) -> None:
    """Tell the study what a trial came to; without a revision, its experiment has failed."""
    from optuna.trial import TrialState

    if revision is None:
        study.tell(number, state=TrialState.FAIL)
    else:
        study.tell(number, experiments.value(revision, metric))
