"""Run a sweep, a set of experiments from a short file, and list the results: `make sweep FILE=…`.

The file lists the experiments, or a space that is searched for the best one. A sweep that was
stopped continues, and a larger one runs only what is new.
"""

import argparse
import json
from pathlib import Path

from deepfake import params
from deepfake.common.errors import command
from deepfake.evaluation.comparison import LOSSES
from tools import experiments, search, sync
from tools.sweep_file import Experiment, Overrides, Sweep, read


@command
def main() -> None:
    parser = argparse.ArgumentParser(prog="make sweep", description=__doc__)
    parser.add_argument("file", type=Path, help="the sweep")
    parser.add_argument(
        "--executor", choices=("local", "ray"), default="local", help="DVC's queue, or a cluster"
    )
    arguments = parser.parse_args()
    sweep, executor = read(arguments.file), arguments.executor
    if sweep.search:
        named, revisions = search.run(sweep, executor)
    else:
        named = {name: one.set for name, one in experiments_of(sweep).items()}
        revisions = experiments.run(named, sweep.jobs, executor)
    print(table(sweep.metric, named, revisions), flush=True)
    sync.bring_up_to_date(params.load())  # last: MLflow may be out of reach
    if not sweep.search:  # which goes on without trials that fail
        experiments.require_finished(named, revisions)


def experiments_of(sweep: Sweep) -> dict[str, Experiment]:
    """The experiments that a sweep lists, by the name under which DVC keeps them."""
    found = {}
    for one in sweep.listed():
        stem = f"{sweep.name}-{one.name}" if one.name else sweep.name
        found[experiments.experiment_name(stem, one.set)] = one
    return found


def table(metric: str, named: dict[str, Overrides], revisions: dict[str, str]) -> str:
    """Write the experiments and what they change as a Markdown table, the best on `valid` first.

    Args:
        metric: what they are sorted by, such as "image.valid.roc_auc".
        named: the overrides of each experiment, by name.
        revisions: the revisions of the finished ones, by name; the others have failed.
    """
    values = {
        name: experiments.value(revisions[name], metric) for name in named if name in revisions
    }
    sign = 1 if lower_is_better(metric) else -1
    order = sorted(named, key=lambda name: (name not in values, sign * values.get(name, 0), name))
    keys = list(dict.fromkeys(key for overrides in named.values() for key in overrides))
    lines = [
        f"| experiment | {metric} | {' | '.join(keys)} |",
        "|---|---:|" + "---|" * len(keys),
    ]
    for name in order:
        shown = f"{values[name]:.4f}" if name in values else "failed"
        cells = [json.dumps(named[name][key]) if key in named[name] else "" for key in keys]
        lines.append(f"| {' | '.join([name, shown, *cells])} |")
    return "\n".join(lines)


def lower_is_better(metric: str) -> bool:
    """Whether the smaller of two values of a metric, such as "image.valid.log_loss", is better."""
    return metric.rpartition(".")[2] in LOSSES


if __name__ == "__main__":
    main()
