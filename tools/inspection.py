"""Describe a folder or zip of images, with the parameters to use it: `make inspect DATA=…`."""

import argparse

from deepfake import params
from deepfake.common.errors import command
from deepfake.ingest import inspection, inspection_page


@command
def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.inspection", description=__doc__)
    parser.add_argument("path", help="a directory or a zip")
    parser.add_argument(
        "--limit", type=int, help="how many images of each class to read; all of them by default"
    )
    arguments = parser.parse_args()
    settings = params.load()
    data = settings.data.model_copy(
        update={"limit_per_class": arguments.limit or settings.data.limit_per_class}
    )
    found = inspection.inspect(arguments.path, data, settings.seed)
    print(inspection_page.text(found, data))


if __name__ == "__main__":
    main()
