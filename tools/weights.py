"""Run `backbone` again once ImageNet's weights have appeared: a step of `make repro`.

With `backbone.weights: auto`, a first run without the network uses random weights. DVC cannot see
that the weights have come since: they lie in Keras's cache, outside the repository.
"""

import subprocess

from deepfake import params
from deepfake.common import paths
from deepfake.common.errors import PipelineError, command
from deepfake.common.files import read_json
from deepfake.models.registry import imagenet_file

STAGE = "backbone"


@command
def main() -> None:
    chosen = params.load().backbone
    if chosen.weights != "auto" or not _random() or not imagenet_file(chosen).is_file():
        return
    print(f"ImageNet's weights have appeared in {imagenet_file(chosen)}: {STAGE} runs again")
    done = subprocess.run(["dvc", "repro", "--force", "--single-item", STAGE], check=False)
    if done.returncode:
        raise PipelineError(f"{STAGE} did not run; the message above says why")


def _random() -> bool:
    """Whether `backbone` used random weights when it last ran."""
    path = paths.BACKBONE_SUMMARY
    return path.is_file() and read_json(path)["weights"] == "random"


if __name__ == "__main__":
    main()
