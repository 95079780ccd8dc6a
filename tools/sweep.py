"""Run a sweep, a set of experiments from a short file, and list the results: `make sweep FILE=…`.

An experiment is named by a digest of the parameters that it changes, so the same changes have the
same name wherever they stand in the file. Experiments that DVC already has are not run again: a
sweep that was stopped continues, and a larger one runs only what is new.
"""

import hashlib
import itertools
import json
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from deepfake import params
from deepfake.common.errors import PipelineError, command
from tools import sync
from tools.shell import dvc, git
from tools.verify import assign

_POLL_SECONDS = 3.0
_LOWER_IS_BETTER = ("log_loss", "brier", "eer", "ece")
_NAME_DIGITS = 8
# Sections of params.yaml that do not change a result.
_WITHOUT_EFFECT = {"execution", "tracking"}


class Sweep(BaseModel):
    """A sweep's file; every key of `grid` and `experiments` is a dotted key of `params.yaml`.

    Attributes:
        name: the start of each experiment's name.
        sort: the metric to sort by, such as "image.valid.roc_auc".
        jobs: how many experiments run at the same time.
        grid: the values of some parameters; each combination is an experiment.
        experiments: the parameters of single experiments.
    """

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9-]*$")]
    sort: Annotated[str, Field(pattern=r"^(image|baseline)\.valid\.\w+$")]
    jobs: Annotated[int, Field(ge=1, le=64)] = 1
    grid: dict[str, Annotated[list[Any], Field(min_length=1)]] = {}
    experiments: list[dict[str, Any]] = []

    def overrides(self) -> list[dict[str, Any]]:
        """The changes to `params.yaml` of each experiment, in order."""
        combinations = itertools.product(*self.grid.values()) if self.grid else []
        grid = [dict(zip(self.grid, values, strict=True)) for values in combinations]
        return grid + self.experiments


@command
def main() -> None:
    sweep = read(Path(sys.argv[1]))
    named = {experiment_name(sweep.name, overrides): overrides for overrides in sweep.overrides()}
    wanted = parameters(named)
    done = finished(wanted)
    missing = {name: overrides for name, overrides in named.items() if name not in done}
    _queue(missing)
    _run(list(missing), sweep.jobs)
    sync.main()
    print(table(sweep, named, finished(wanted)))


def read(path: Path) -> Sweep:
    """Read a sweep's file.

    Raises:
        PipelineError: the file is not a sweep.
    """
    try:
        return Sweep.model_validate(params.parse_yaml(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, yaml.YAMLError, ValidationError) as error:
        raise PipelineError(f"{path} is not a sweep: {error}") from None


def experiment_name(sweep: str, overrides: dict[str, Any]) -> str:
    """Name an experiment by its overrides, such as "head-3fa9c1d2"; their order has no effect."""
    text = json.dumps(overrides, sort_keys=True)
    return f"{sweep}-{hashlib.sha256(text.encode()).hexdigest()[:_NAME_DIGITS]}"


def parameters(named: dict[str, dict[str, Any]]) -> dict[str, params.Params]:
    """Compute all parameters of each experiment: those of `params.yaml` with its overrides.

    Raises:
        PipelineError: an override names no parameter, or a value is not allowed.
    """
    found = {}
    for name, overrides in named.items():
        origin = f"{name} ({json.dumps(overrides)})"
        values = params.load().model_dump(mode="json")
        for key, value in overrides.items():
            if not assign(values, key, value):
                raise PipelineError(f"{origin}: params.yaml has no {key}")
        found[name] = params.validate(values, origin)
    return found


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
            same = stored is not None and _effective(stored) == _effective(wanted[name])
            (found if same else different)[name] = revision
    for name, revision in different.items():
        if name not in found:
            raise PipelineError(
                f"the experiment {name} was run with other parameters than params.yaml has now "
                f"(`git diff {revision[:10]} -- params.yaml` shows them). Give the sweep another "
                f"name, or remove the experiment: `dvc exp remove {name}`"
            )
    return found


def _stored(revision: str) -> params.Params | None:
    """The parameters of an experiment; None if they do not fit today's schema."""
    try:
        return params.validate(params.parse_yaml(git("show", f"{revision}:params.yaml")))
    except (PipelineError, ValueError, yaml.YAMLError):
        return None


def _effective(settings: params.Params) -> dict[str, Any]:
    """The parameters that can change a result."""
    return settings.model_dump(exclude=_WITHOUT_EFFECT)


def _queue(missing: dict[str, dict[str, Any]]) -> None:
    """Queue experiments that are not already waiting or running; failed ones are queued again."""
    states = _states(list(missing))
    for name, overrides in missing.items():
        if states.get(name) in ("Queued", "Running"):
            continue
        if name in states:
            dvc("queue", "remove", name)
        changes = [f"{key}={json.dumps(value)}" for key, value in overrides.items()]
        dvc("exp", "run", "--queue", "-n", name, *(f"-S{change}" for change in changes))


def _run(names: list[str], jobs: int) -> None:
    """Start workers for the queue, and return when none of `names` is waiting or running."""
    if not names:
        return
    dvc("queue", "start", "-j", str(jobs))
    states: dict[str, str] = {}
    while True:
        now = _states(names)
        for name in names:
            if now.get(name) != states.get(name):
                print(f"{name}: {now.get(name, 'Queued').lower()}", flush=True)
        states = now
        if all(states.get(name) in ("Success", "Failed") for name in names):
            return
        time.sleep(_POLL_SECONDS)


def _states(names: list[str]) -> dict[str, str]:
    """The state of each experiment that `dvc queue status` lists: Queued, Running, and so on."""
    found = {}
    for line in dvc("queue", "status").splitlines():
        fields = line.split()
        for name in set(fields) & set(names):
            found[name] = fields[-1]
    return found


def table(sweep: Sweep, named: dict[str, dict[str, Any]], revisions: dict[str, str]) -> str:
    """Write the experiments and what they change as a Markdown table, the best on `valid` first.

    Args:
        named: the overrides of each experiment, by name.
        revisions: the revisions of the finished ones, by name; the others have failed.
    """
    model, split, metric = sweep.sort.split(".")
    rows = []
    for name, overrides in named.items():
        value = None
        if name in revisions:
            text = git("show", f"{revisions[name]}:metrics/{model}.json")
            value = json.loads(text)[split][metric]
        rows.append((value, name, overrides))
    sign = 1 if metric in _LOWER_IS_BETTER else -1
    rows.sort(key=lambda row: (row[0] is None, sign * (row[0] or 0), row[1]))
    keys = list(dict.fromkeys(key for overrides in named.values() for key in overrides))
    lines = [
        f"| experiment | {sweep.sort} | {' | '.join(keys)} |",
        "|---|---:|" + "---|" * len(keys),
    ]
    for value, name, overrides in rows:
        shown = "failed" if value is None else f"{value:.4f}"
        cells = [json.dumps(overrides[key]) if key in overrides else "" for key in keys]
        lines.append(f"| {name} | {shown} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
