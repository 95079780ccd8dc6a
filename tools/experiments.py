"""Sets of DVC experiments: their names and parameters, how they run, and what they come to.

An experiment is named by a digest of the parameters that it changes, so the same changes have the
same name wherever they stand in a file. Experiments that DVC already has are not run again.
"""

import hashlib
import json
import time
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import psutil

from deepfake import params
from deepfake.common.errors import PipelineError
from deepfake.common.overrides import written
from deepfake.common.yaml12 import parse_yaml
from tools import ray_experiments, sync
from tools.clones import assign
from tools.shell import dvc, git
from tools.sweep_file import Overrides

# Between looks at the queue: a look takes a second of a processor, which the experiments want.
_FEWEST_SECONDS, _MOST_SECONDS = 3.0, 20.0
_OF_WORKERS = ("queue-worker", "exec-run")  # commands of DVC
_LOOKS = 5  # at the queue, until it is said to be unreadable
_NAME_DIGITS = 8
_OF_RECIPES = {"backbone", "embed", "train"}  # sections of params.yaml
# Sections that do not change a result.
_WITHOUT_EFFECT = {"execution", "tracking"}


def experiment_name(stem: str, overrides: Overrides) -> str:
    """Name an experiment by its overrides, such as "head-3fa9c1d2"; their order has no effect."""
    text = json.dumps(overrides, sort_keys=True)
    return f"{stem}-{hashlib.sha256(text.encode()).hexdigest()[:_NAME_DIGITS]}"


def parameters(named: dict[str, Overrides]) -> dict[str, params.Params]:
    """Compute all parameters of each experiment: those of `params.yaml` with its overrides.

    Raises:
        PipelineError: an override names no parameter, a value is not allowed, or the recipe names
            what is not there.
    """
    found = {}
    unchanged = params.load()
    for name, overrides in named.items():
        origin = f"{name} ({json.dumps(overrides)})"
        values = unchanged.model_dump(mode="json")
        for key, value in overrides.items():
            if not assign(values, key, value):
                raise PipelineError(f"{origin}: params.yaml has no {key}")
        found[name] = params.validate(values, origin)
        try:
            _check_recipe(found[name].model_dump_json(include=_OF_RECIPES))
        except PipelineError as error:
            raise PipelineError(f"{origin}: {error}") from None
    return found


@cache
def _check_recipe(sections: str) -> None:
    """Check the sections that a recipe consists of, as stage `check` does in each experiment, but
    without TensorFlow, which would keep memory and a GPU while the experiments run."""
    from deepfake.training import recipes

    values = params.load().model_dump(mode="json") | json.loads(sections)
    recipes.check(params.validate(values), build=False)


def run(named: dict[str, Overrides], jobs: int, executor: str = "local") -> dict[str, str]:
    """Run the experiments that DVC does not have yet.

    Args:
        named: the overrides of each experiment, by name.
        jobs: how many run at the same time in DVC's queue.
        executor: `local`, DVC's queue; or `ray`, a cluster that runs as many as fit.

    Returns:
        The revisions of the finished ones, by name; the others have failed.

    Raises:
        PipelineError: parameters are not allowed, or DVC has an experiment of the same name with
            other parameters. Nothing has run then.
    """
    wanted = parameters(named)
    done = finished(wanted)
    missing = {name: overrides for name, overrides in named.items() if name not in done}
    if executor == "ray" and missing:
        ray_experiments.run(missing)
    elif executor == "local":
        _queue(missing)
        _wait(list(missing), jobs)
    return finished(wanted)


def finished(wanted: dict[str, params.Params]) -> dict[str, str]:
    """Find the experiments that DVC already has, as revisions by name.

    Raises:
        PipelineError: an experiment has the name but other parameters, so its metrics do not
            belong in this sweep.
    """
    found: dict[str, str] = {}
    different: dict[str, str] = {}
    for name, revision in sync.experiments():
        if name in wanted:
            stored = _stored(revision)
            same = stored is not None and effective(stored) == effective(wanted[name])
            (found if same else different)[name] = revision
    for name, revision in different.items():
        if name not in found:
            raise PipelineError(
                f"the experiment {name} was run with other parameters than params.yaml has now "
                f"(`git diff {revision[:10]} -- params.yaml` shows them). Give the sweep another "
                f"name, or remove the experiment: `dvc exp remove {name}`"
            )
    return found


def require_finished(named: Iterable[str], revisions: Mapping[str, str]) -> None:
    """Raise a `PipelineError` that names the experiments that have failed, if any have."""
    if failed := [name for name in named if name not in revisions]:
        raise PipelineError(f"failed: {', '.join(failed)}; the lines above say more")


def metrics(revision: str, model: str) -> dict[str, dict[str, float]]:
    """The metrics of `image` or `baseline` in a finished experiment, by split."""
    found: dict[str, dict[str, float]] = json.loads(git("show", f"{revision}:metrics/{model}.json"))
    return found


def value(revision: str, metric: str) -> float:
    """A metric of a finished experiment, such as "image.valid.roc_auc"."""
    model, split, name = metric.split(".")
    return metrics(revision, model)[split][name]


def effective(settings: params.Params) -> dict[str, Any]:
    """The parameters that can change a result."""
    return settings.model_dump(mode="json", exclude=_WITHOUT_EFFECT)


def _stored(revision: str) -> params.Params | None:
    """The parameters of an experiment; None if they do not fit today's schema."""
    try:
        return params.validate(parse_yaml(git("show", f"{revision}:params.yaml")))
    except (PipelineError, ValueError):
        return None


def _queue(missing: dict[str, Overrides]) -> None:
    """Queue experiments that are not already waiting or running; failed ones are queued again."""
    _end_abandoned(list(missing))
    states = _states(list(missing))
    for name, overrides in missing.items():
        if states.get(name) in ("Queued", "Running"):
            continue
        if name in states:
            dvc("queue", "remove", name)
        changes = [f"-S{key}={written(value)}" for key, value in overrides.items()]
        dvc("exp", "run", "--queue", "-n", name, *changes)


def _wait(names: list[str], jobs: int) -> None:
    """Start workers for the queue, and return when none of `names` is waiting or running."""
    if not names:
        return
    dvc("queue", "start", "-j", str(jobs))
    states: dict[str, str] = {}
    seconds = _FEWEST_SECONDS
    without = 0  # looks in a row that found no worker
    while True:
        now = _states(names)
        for name in names:
            if now.get(name) != states.get(name):
                told = f": `dvc queue logs {name}` says why" if now.get(name) == "Failed" else ""
                print(f"{name}: {now.get(name, 'Queued').lower()}{told}", flush=True)
        states = now
        if all(states.get(name) in ("Success", "Failed") for name in names):
            return
        without = 0 if _at_work() else without + 1
        if without > 1:  # one that has just been started may not be there yet
            _end_abandoned(names)
            dvc("queue", "start", "-j", str(jobs))
            without = 0
        time.sleep(seconds)
        seconds = min(1.2 * seconds, _MOST_SECONDS)


def _end_abandoned(names: list[str]) -> None:
    """Let experiments fail whose worker was killed: DVC would call them Running for ever."""
    if _at_work():
        return
    for name, state in _states(names).items():
        if state == "Running":
            dvc("queue", "kill", name)


def _at_work() -> bool:
    """Whether a worker of this repository's queue, or an experiment that one has started, runs."""
    return any(
        Path(process.info["cwd"] or "/").is_relative_to(Path.cwd())
        and any(word in " ".join(process.info["cmdline"] or []) for word in _OF_WORKERS)
        for process in psutil.process_iter(["cmdline", "cwd"])
    )


def _states(names: list[str]) -> dict[str, str]:
    """The state of each experiment that `dvc queue status` lists: Queued, Running, and so on."""
    found = {}
    for line in _queue_status().splitlines():
        fields = line.split()
        for name in set(fields) & set(names):
            found[name] = fields[-1]
    return found


def _queue_status() -> str:
    """What `dvc queue status` prints."""
    for _ in range(_LOOKS - 1):
        try:
            return dvc("queue", "status")
        except PipelineError:
            # DVC's workers write the files behind it in place, and it fails when it reads one that
            # is half-written ("Expecting value"). A moment later the file is whole.
            time.sleep(_FEWEST_SECONDS)
    return dvc("queue", "status")
