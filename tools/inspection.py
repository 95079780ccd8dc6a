"""Describe a folder or zip of images, with the parameters to use it: `make inspect DATA=…`."""

import argparse

from deepfake import params
from deepfake.common.errors import PipelineError, command
from deepfake.ingest import inspection, inspection_page
from deepfake.models.registry import imagenet_address, imagenet_file


def weights_warnings(backbone: params.BackboneParams) -> list[str]:
    """What to know, with the command, where a run may end up without ImageNet weights."""
    if backbone.weights == "random":
        return [
            "backbone.weights is random, and photographs need ImageNet weights: add "
            "-S backbone.weights=auto"
        ]
    file = imagenet_file(backbone)
    if file.exists():
        return []
    otherwise = "is refused"
    if backbone.weights == "auto":
        otherwise = "uses random weights, which find much less in photographs"
    return [
        "ImageNet weights are not in Keras's cache. A run downloads them; where it cannot, it "
        f"{otherwise}. To get them first:",
        f"  curl --fail --create-dirs -o {file} {imagenet_address(backbone)}",
    ]


@command
def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.inspection", description=__doc__)
    parser.add_argument("path", help="a directory or a zip")
    parser.add_argument(
        "--limit", type=int, help="how many images of each class to read; all of them by default"
    )
    arguments = parser.parse_args()
    if arguments.limit is not None and arguments.limit < 1:
        raise PipelineError(f"LIMIT: received {arguments.limit}; it is a number of images from 1")
    settings = params.load()
    data = settings.data.model_copy(
        update={"limit_per_class": arguments.limit or settings.data.limit_per_class}
    )
    found = inspection.inspect(arguments.path, data, settings.seed)
    warnings = [] if found.fault else weights_warnings(settings.backbone)
    if arguments.limit:
        warnings.append(
            f"LIMIT: at most {arguments.limit:,} images of each class were looked at; a run uses "
            f"as many as data.limit_per_class says ({settings.data.limit_per_class or 'all'})"
        )
    print(inspection_page.text(found, data, warnings))


if __name__ == "__main__":
    main()
