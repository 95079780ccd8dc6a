"""What a run came to, printed (`make show`), or from a model to the runs that made it
(`make show MODEL=data/models/…`)."""

import shutil
import sys
import textwrap
from pathlib import Path
from typing import Any

from deepfake import params
from deepfake.common import paths
from deepfake.common.errors import PipelineError, command
from deepfake.common.files import read_json, sha256_file
from deepfake.reporting.report import top
from deepfake.tracking.failures import required
from deepfake.tracking.store import find
from tools.shell import git

_METRICS = {
    "roc_auc": "ROC-AUC",
    "accuracy": "accuracy",
    "average_precision": "average precision",
    "log_loss": "log loss (lower is better)",
}
_NEXT = """\
Where to look next:
  report.md   the whole report; its figures are in plots/
  make ui     every run and both models in MLflow; `dvc plots show`: the curves on a page
  README.md   "Your own images, and Kaggle": from your own folder or zip to this table"""
_OTHER_BYTES = (
    "Note: dvc.lock, which git keeps, is not the committed one: other parameters, other weights, "
    "or a processor that rounds differently. Commit it with its results (git commit -am "
    '"Results of this machine"). If you go back with git checkout instead, dvc checkout may report '
    "missing files, because nobody has stored those of the commit here: make repro then computes "
    "them again."
)
_SHOWN = (
    "row", "experiment", "current", "made_by", "git_revision", "git_dirty", "dvc_lock",
    "source_name", "source_version", "source_sha256", "weights", "precision", "device", "python",
)  # fmt: skip


@command
def main() -> None:
    if len(sys.argv) > 1:
        show_runs(Path(sys.argv[1]))
    else:
        width = min(shutil.get_terminal_size().columns, 100)
        print(result(width))
        if lock_changed():
            print(f"\n{textwrap.fill(_OTHER_BYTES, width)}")


def result(width: int) -> str:
    """The verdict, the warnings, a small table of both models, and where to look next."""
    report = _read(paths.REPORT, lambda path: path.read_text(encoding="utf-8"))
    test = {
        model: _read(paths.metrics_file(model), read_json)["test"]
        for model in ("baseline", "image")
    }
    rows = [f"{'on the test images':28}{'baseline':>10}{'image':>8}"]
    for key, name in _METRICS.items():
        rows.append(f"{name:28}{test['baseline'][key]:10.3f}{test['image'][key]:8.3f}")
    return "\n\n".join(
        [*(textwrap.fill(text, width) for text in top(report)), "\n".join(rows), _NEXT]
    )


def lock_changed() -> bool:
    """Whether dvc.lock differs from the last commit; False where there is no commit."""
    try:
        return bool(git("diff", "--name-only", "HEAD", "--", "dvc.lock"))
    except PipelineError:
        return False


def _read(path: Path, read: Any) -> Any:
    try:
        return read(path)
    except FileNotFoundError:
        raise PipelineError(f"{path} is missing: run `make repro`, which writes it") from None


def show_runs(path: Path) -> None:
    """Print the runs that have the model `path`, and where they come from."""
    if not path.is_file():
        raise PipelineError(f"{path} is not a file: name a model, such as {paths.DETECTOR}")
    digest = sha256_file(path)
    with required():
        settings = params.load().tracking
        found = [
            run
            for tag in ("model_sha256", "detector_sha256")
            for run in find(settings, **{tag: digest})
        ]
    print(f"{path}: SHA-256 {digest}")
    if not found:
        raise PipelineError("no run has this model; if DVC restored it, run `make sync`")
    for run in found:
        print(f"\nrun {run.run_id} ({run.status})")
        for name in _SHOWN:
            if name in run.tags:
                print(f"  {name:14} {run.tags[name]}")


if __name__ == "__main__":
    main()
