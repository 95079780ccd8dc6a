"""Bring MLflow up to date with DVC: `make sync`.

Writes the rows that no stage could write because none ran: those of an experiment that DVC
restored whole from its cache, or that was made by `dvc exp apply`. Also delivers what could not be
logged and marks the runs of killed processes. Doing it twice changes nothing.
"""

import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from deepfake import params
from deepfake.common import paths
from deepfake.common.errors import PipelineError, command
from deepfake.common.labels import SPLITS
from deepfake.tracking import experiment_rows, lineage, row_contents
from deepfake.tracking.failures import required
from deepfake.tracking.outbox import tidy
from tools.shell import git

_EXPERIMENT = re.compile(r"refs/exps/([0-9a-f]{2})/([0-9a-f]{38})/(.+)")
# The outputs that rows are written from, figures and report included.
NEEDED = (
    *row_contents.MODELS.values(),
    paths.DETECTOR,
    *(paths.decision(name) for name in row_contents.MODELS),
    *(paths.predictions(name) for name in row_contents.MODELS),
    *(paths.curves(name) for name in row_contents.MODELS),
    *(paths.metrics_file(name) for name in row_contents.MODELS),
    paths.IMAGES_REPORT,
    paths.METADATA,
    *(paths.EMBEDDINGS / f"{split}.csv" for split in SPLITS),
    paths.TRAINING,
    *(paths.groups(name) for name in row_contents.MODELS),
    paths.FIGURES,
    paths.REPORT,
    paths.EXPORTED,
)


@command
def main() -> None:
    bring_up_to_date(params.load())


def bring_up_to_date(settings: params.Params) -> None:
    """Write the rows that are missing, and say which.

    Raises:
        PipelineError: MLflow cannot be reached.
    """
    with required():
        delivered = tidy(settings.tracking)
        written = [*_experiments(), *_workspace(settings)]
    print(f"delivered {delivered} runs that had been kept")
    for line in written:
        print(line)
    print(f"wrote {len(written)} rows" if written else "every experiment has its two rows")


def experiments() -> list[tuple[str, str]]:
    """Name and revision of every experiment that DVC keeps, the oldest first. Several may have one
    name, if they began at different commits."""
    form = "--format=%(refname) %(objectname)"
    listed = git("for-each-ref", "--sort=committerdate", form, "refs/exps")
    found = []
    for line in listed.splitlines():
        name, _, revision = line.rpartition(" ")
        if match := _EXPERIMENT.fullmatch(name):
            found.append((match[3], revision))
    return found


def _experiments() -> Iterator[str]:
    for name, revision in dict(experiments()).items():  # the newest of a name has the rows
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            origin = {
                **lineage.place(),
                "experiment": name,
                "git_revision": revision,  # DVC's commit of the experiment has its parameters
                "git_dirty": "false",
                "process": lineage.process(),
            }
            try:
                for file in ("params.yaml", "dvc.lock"):
                    (root / file).write_text(git("show", f"{revision}:{file}"))
                settings = params.load(root / "params.yaml")
                if name not in experiment_rows.complete(root, settings):
                    _fetch(root, revision)
                    for row in experiment_rows.ensure(root, settings, origin, exported=True):
                        yield f"{name}: {row}"
            except (PipelineError, FileNotFoundError) as error:
                # Made by other code, or its outputs are no longer in the cache.
                print(f"warning: skipped {name}: {error}", file=sys.stderr)


def _fetch(root: Path, revision: str) -> None:
    """Copy the outputs of a revision into `root`, from git and DVC's cache."""
    from dvc.api import DVCFileSystem

    with closing(DVCFileSystem(".", rev=revision)) as source:
        for path in NEEDED:
            target = root / path
            target.parent.mkdir(parents=True, exist_ok=True)
            source.get(str(path), str(target), recursive=source.isdir(str(path)))


def _workspace(settings: params.Params) -> Iterator[str]:
    """Write the rows of the workspace, unless an experiment, an applied one, has them."""
    from dvc.repo import Repo

    if experiment_rows.complete(Path(), settings):
        return
    with Repo() as repository:
        if repository.status():
            print("the workspace differs from dvc.lock: run `dvc repro`", file=sys.stderr)
            return
    for row in experiment_rows.ensure(Path(), settings, exported=True):
        yield f"workspace: {row}"


if __name__ == "__main__":
    main()
