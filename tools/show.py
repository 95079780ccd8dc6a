"""From a file in the repository to the runs that made it: `make show MODEL=data/models/…`."""

import sys
from pathlib import Path

from deepfake import params
from deepfake.common.errors import PipelineError, command
from deepfake.common.files import sha256_file
from deepfake.tracking.store import find, required

_SHOWN = (
    "row", "experiment", "current", "made_by", "git_revision", "git_dirty", "dvc_lock",
    "source_name", "source_version", "source_sha256", "weights", "precision", "device", "python",
)  # fmt: skip


@command
def main() -> None:
    path = Path(sys.argv[1])
    if not path.is_file():
        raise PipelineError(f"{path} is not a file: name a model, such as data/models/image.keras")
    digest = sha256_file(path)
    with required():
        found = find(params.load().tracking, model_sha256=digest)
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
