"""Run every recipe of `experiments/recipes.yaml` on one data set: `make recipes DATA=faces.zip`.

What they come to is one table, printed and written to `cache/recipes/` as Markdown, CSV and figure.
"""

import argparse
import math
import sys
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from deepfake import params
from deepfake.common.errors import PipelineError, command
from deepfake.common.files import write_table, write_text
from deepfake.reporting.drawing import COLORS, drawing
from deepfake.sources.remote import is_address, located
from deepfake.tracking import lineage, store
from deepfake.tracking.connection import client
from deepfake.tracking.failures import required
from tools import experiments, sync
from tools.sweep import experiments_of
from tools.sweep_file import Experiment, Sweep, read

RECIPES = Path("experiments/recipes.yaml")
FOLDER = Path("cache/recipes")
_HEADERS = {
    "recipe": "recipe",
    "published": "published",
    "roc_auc": "ROC-AUC here",
    "accuracy": "accuracy here",
    "seconds": "seconds",
    "parameters": "parameters",
}


@command
def main() -> None:
    parser = argparse.ArgumentParser(prog="make recipes", description=__doc__)
    parser.add_argument("data", help="a folder or zip of images, as for make inspect")
    parser.add_argument("--file", type=Path, default=RECIPES, help="the recipes, a sweep")
    arguments = parser.parse_args()
    named = experiments_of(on_data(read(arguments.file), arguments.data))
    jobs = 1  # side by side they would slow each other down, and the seconds would say nothing
    revisions = experiments.run({name: one.set for name, one in named.items()}, jobs)
    results = table(named, revisions, recorded(revisions))
    write_table(FOLDER / "recipes.csv", results)
    write_text(FOLDER / "recipes.md", markdown(results) + "\n")
    draw(FOLDER / "recipes.png", results)
    print(f"{markdown(results)}\nThis table as CSV and figure: {FOLDER}/", flush=True)
    experiments.require_finished(named, revisions)


def on_data(sweep: Sweep, data: str) -> Sweep:
    """The sweep on the images in a folder or zip.

    Raises:
        PipelineError: there is nothing at that path.
    """
    if not is_address(data) and not Path(located(data)).exists():
        raise PipelineError(f"DATA={data}: no such folder or zip")
    source = {"data.source": "folder", "data.folder.path": data}
    return sweep.model_copy(update={"set": {**sweep.set, **source}})


def recorded(revisions: Iterable[str]) -> dict[str, dict[str, float]]:
    """Seconds and parameters of the image model of each experiment, as far as MLflow has them."""
    try:
        sync.bring_up_to_date(params.load())
        with required():
            return {name: _recorded(name) for name in revisions}
    except PipelineError as error:
        print(f"warning: seconds and parameters are missing: {error}", file=sys.stderr)
        return {}


def table(
    named: dict[str, Experiment],
    revisions: dict[str, str],
    known: dict[str, dict[str, float]],
) -> pd.DataFrame:
    """What each recipe came to, in the order of the file.

    Args:
        named: the recipes, by the experiment's name.
        revisions: the revisions of the finished experiments, by name.
        known: what `recorded` returns.

    Returns:
        Columns `recipe`, `published` (text), `roc_auc` and `accuracy` of the image model on test,
        `seconds` of embedding, training and scoring, and `parameters`, how many numbers the model
        has. Where a recipe has failed, the last four are NaN; where MLflow does not have it, the
        last two.
    """
    rows = []
    for name, recipe in named.items():
        row: dict[str, str | float] = {"recipe": recipe.name or name, "published": recipe.published}
        if name in revisions:
            test = experiments.metrics(revisions[name], "image")["test"]
            row |= {"roc_auc": test["roc_auc"], "accuracy": test["accuracy"], **known.get(name, {})}
        rows.append(row)
    return pd.DataFrame(rows, columns=list(_HEADERS))


def _recorded(name: str) -> dict[str, float]:
    """Seconds and parameters of an experiment's image model; nothing without a row in MLflow.

    The model's run lasts from the start of `train` to the end of `evaluate`. Where DVC restored
    the model or the embeddings, the runs that made them count.
    """
    settings = params.load().tracking
    tags = {"experiment": name, "row": "image", "current": "true", **lineage.place()}
    rows = store.find(settings, **tags)
    if not rows:
        return {}
    row = rows[0]
    model = client().get_run(row.tags.get("made_by", row.run_id))
    runs = [model]
    if embed := row.tags.get("run_embed"):
        runs.append(client().get_run(embed))
    milliseconds = sum(run.info.end_time - run.info.start_time for run in runs)
    return {
        "seconds": milliseconds / 1000,
        "parameters": model.data.metrics["while_training_parameters"],
    }


def markdown(results: pd.DataFrame) -> str:
    """Write what `table` returns as a Markdown table."""
    formats = {"roc_auc": ".3f", "accuracy": ".3f", "seconds": ",.0f", "parameters": ",.0f"}
    lines = [f"| {' | '.join(_HEADERS.values())} |", "|---|---|---:|---:|---:|---:|"]
    for row in results.to_dict("records"):
        cells = [str(row["recipe"]), str(row["published"])]
        missing = "failed" if pd.isna(row["roc_auc"]) else "–"
        for column, form in formats.items():
            cells.append(missing if pd.isna(row[column]) else format(row[column], form))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def draw(path: Path, results: pd.DataFrame) -> None:
    """Draw each recipe's ROC-AUC on test as a bar, with its seconds; the first is at the top."""
    finished = results.dropna(subset=["roc_auc"]).iloc[::-1]
    with drawing(path, width=7, height=1.2 + 0.35 * len(finished)) as (_, axes):
        bars = axes.barh(finished["recipe"], finished["roc_auc"], color=COLORS["image"])
        texts = [
            f"{roc_auc:.3f}" + ("" if math.isnan(seconds) else f" in {seconds:,.0f} s")
            for roc_auc, seconds in finished[["roc_auc", "seconds"]].to_numpy(float)
        ]
        axes.bar_label(bars, texts, padding=3)
        axes.set(xlabel="ROC-AUC on test", xlim=(0, 1.3), xticks=[0, 0.25, 0.5, 0.75, 1])


if __name__ == "__main__":
    main()
