"""Bring MLflow up to date with DVC: `make sync`.

Needed where no stage ran, so that none could write: an experiment whose every stage DVC restored
from its cache, or `dvc exp apply`. Also delivers what could not be logged and marks the runs of
killed processes. Doing it again changes nothing.
"""

import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from deepfake import params
from deepfake.common.errors import PipelineError, command
from deepfake.common.labels import SPLITS
from deepfake.tracking import experiment_rows, lineage
from deepfake.tracking.run import find, required, tidy
from tools.shell import git

_EXPERIMENT = re.compile(r"refs/exps/([0-9a-f]{2})/([0-9a-f]{38})/(.+)")
# All that a row is written from, besides what git has.
NEEDED = (
    "data/models",
    "data/predictions",
    "data/images/report.json",
    "data/metadata",
    *(f"data/embeddings/{split}.csv" for split in SPLITS),
    "metrics",
    "plots",
)


@command
def main() -> None:
    settings = params.load()
    with required():
        delivered = tidy(settings.tracking)
        written = [*_experiments(), *_workspace(settings)]
    print(f"delivered {delivered} runs that had been kept")
    for line in written:
        print(line)
    print(f"wrote {len(written)} rows" if written else "every experiment has its two rows")


def experiments() -> list[tuple[str, str]]:
    """Name and revision of every experiment that DVC keeps."""
    listed = git("for-each-ref", "--format=%(refname) %(objectname)", "refs/exps")
    found = []
    for line in listed.splitlines():
        name, _, revision = line.rpartition(" ")
        if match := _EXPERIMENT.fullmatch(name):
            found.append((match[3], revision))
    return found


def _experiments() -> Iterator[str]:
    for name, revision in experiments():
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
                if name not in _complete(settings, root):
                    _fetch(root, revision)
                    for row in experiment_rows.ensure(root, settings, origin):
                        yield f"{name}: {row}"
            except (PipelineError, FileNotFoundError) as error:
                # Made by other code, or its outputs are no longer in the cache.
                print(f"warning: {name} has to do without: {error}", file=sys.stderr)


def _fetch(root: Path, revision: str) -> None:
    """Put the outputs of a revision into `root`, from git and DVC's cache."""
    from dvc.api import DVCFileSystem

    with closing(DVCFileSystem(".", rev=revision)) as source:
        for path in NEEDED:
            target = root / path
            target.parent.mkdir(parents=True, exist_ok=True)
            source.get(path, str(target), recursive=source.isdir(path))


def _workspace(settings: params.Params) -> Iterator[str]:
    """The rows of what is in the workspace, unless an experiment has both: one applied, say."""
    from dvc.repo import Repo

    if _complete(settings, Path()):
        return
    with Repo() as repository:
        if repository.status():
            print("the workspace is not as dvc.lock has it: run `dvc repro`", file=sys.stderr)
            return
    for row in experiment_rows.ensure(Path(), settings):
        yield f"workspace: {row}"


def _complete(settings: params.Params, root: Path) -> set[str]:
    """The experiments that have both rows of the outputs that `root/dvc.lock` tells of."""
    having = []
    for name, stages in experiment_rows.ANCESTRY.items():
        digest = lineage.lock_digest(root, stages)
        wanted = {**lineage.place(), "row": name, "current": "true", "dvc_lock": str(digest)}
        found = find(settings.tracking, **wanted)
        having.append({row.tags["experiment"] for row in found})
    return set.intersection(*having)


if __name__ == "__main__":
    main()
