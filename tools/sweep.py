"""A sweep: named experiments from a short file, run and listed: `make sweep FILE=…`.

Experiments of the sweep that DVC has already are not run again, so that a sweep that was stopped
goes on, and one can be made larger.
"""

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


class Sweep(BaseModel):
    """What a sweep's file says; every key of `grid` and `experiments` is one of `params.yaml`."""

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
    named = {
        f"{sweep.name}-{number:02d}": overrides
        for number, overrides in enumerate(sweep.overrides(), start=1)
    }
    refuse_unusable(named)
    known = dict(sync.experiments())
    missing = {name: overrides for name, overrides in named.items() if name not in known}
    _queue(missing)
    _run(list(missing), sweep.jobs)
    sync.main()
    print(table(sweep, named))


def read(path: Path) -> Sweep:
    """Raises `PipelineError` where the file is not a sweep."""
    try:
        return Sweep.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, yaml.YAMLError, ValidationError) as error:
        raise PipelineError(f"{path} is not a sweep: {error}") from None


def refuse_unusable(named: dict[str, dict[str, Any]]) -> None:
    """Check every experiment's parameters before the first is queued."""
    for name, overrides in named.items():
        values = params.load().model_dump(mode="json")
        for key, value in overrides.items():
            if not assign(values, key, value):
                raise PipelineError(f"{name}: params.yaml has no {key}")
        params.validate(values, origin=name)


def _queue(missing: dict[str, dict[str, Any]]) -> None:
    """Queue experiments, unless they wait from a sweep that was stopped; failed ones anew."""
    states = _states(list(missing))
    for name, overrides in missing.items():
        if states.get(name) in ("Queued", "Running"):
            continue
        if name in states:
            dvc("queue", "remove", name)
        changes = [f"{key}={json.dumps(value)}" for key, value in overrides.items()]
        dvc("exp", "run", "--queue", "-n", name, *(f"-S{change}" for change in changes))


def _run(names: list[str], jobs: int) -> None:
    """Work the queue off; returns when none of `names` is waiting or running."""
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
    """Queued, Running, Success or Failed, as `dvc queue status` has it."""
    found = {}
    for line in dvc("queue", "status").splitlines():
        fields = line.split()
        for name in set(fields) & set(names):
            found[name] = fields[-1]
    return found


def table(sweep: Sweep, named: dict[str, dict[str, Any]]) -> str:
    """The experiments as a Markdown table, the best on `valid` first."""
    model, split, metric = sweep.sort.split(".")
    rows = []
    revisions = dict(sync.experiments())
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
