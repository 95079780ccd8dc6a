"""The command `deepfake`: score images, look at what files say, ask what the detector is.

What the commands do is in `commands.py`, imported when one runs, so that `--help` is quick.
"""

import sys
import warnings
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from deepfake.common import paths, program
from deepfake.common.errors import PipelineError, command, fixable
from deepfake.common.text import shown

EXIT_STATUS = """\b
Exit status:
  0    every file was used
  1    an error, which one line tells; not all was done
  2    an option or argument is unknown or missing
  3    some files were refused; their rows say why, and the others were used
  130  interrupted"""

app = typer.Typer(
    name="deepfake",
    help="Tell real images from fake ones with an exported detector.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


_DETECTOR = paths.EXPORTED.as_posix()


class RowFormat(StrEnum):
    """How predictions are written."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    PARQUET = "parquet"


class Executor(StrEnum):
    """What scores."""

    LOCAL = "local"
    RAY = "ray"


class TextFormat(StrEnum):
    """How facts are printed."""

    TEXT = "text"
    JSON = "json"


Paths = Annotated[
    list[str],
    typer.Argument(
        metavar="PATH...",
        help="Files, folders (with all below them), zips, Parquet tables, addresses such as "
        "s3://bucket/faces, patterns, or - for one image on standard input.",
        show_default=False,
    ),
]
Model = Annotated[
    str,
    typer.Option(
        metavar="MODEL",
        help="The detector: a folder that the stage `export` wrote, models:/NAME@champion, or "
        "runs:/ID.",
    ),
]
Facts = Annotated[TextFormat, typer.Option("--format", help="With json, an object a line.")]


@app.command(epilog=EXIT_STATUS)
def predict(
    paths: Paths,
    model: Model = _DETECTOR,
    format: Annotated[
        RowFormat | None,
        typer.Option(help="Of the rows; json is an object a line. By default as FILE, or a table."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Write the rows here: .csv, .json, .jsonl, .parquet or .txt."
        ),
    ] = None,
    explain: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Draw where each score comes from, in a new folder."),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write a report with thumbnails: .html or .pdf."),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Processors to use; by default all. With ray, those of each task; by default one.",
        ),
    ] = None,
    executor: Annotated[
        Executor,
        typer.Option(help="With ray, the Ray cluster that RAY_ADDRESS names scores."),
    ] = Executor.LOCAL,
) -> None:
    """Score images: the probability that each is fake, and a verdict.

    A file that is no usable image is refused in its row, and the others are scored. In folders and
    zips, files count whose names are those of images.
    """
    from deepfake.serving import commands

    chosen = None if format is None else format.value
    on_ray = executor is Executor.RAY
    _end(commands.predict(paths, model, chosen, output, explain, report, threads, on_ray))


@app.command(epilog=EXIT_STATUS)
def inspect(paths: Paths, format: Facts = TextFormat.TEXT) -> None:
    """Show what each file says of itself: camera, software, JPEG settings, C2PA manifest.

    No detector is needed. What a file says can be forged, or removed.
    """
    from deepfake.serving import commands

    _end(commands.inspect(paths, format is TextFormat.JSON))


@app.command()
def model(model: Model = _DETECTOR, format: Facts = TextFormat.TEXT) -> None:
    """Show what the detector is: what it was trained on, how good it is, how to read its scores."""
    from deepfake.serving import commands

    commands.model(model, format is TextFormat.JSON)


def _end(status: int) -> None:
    if status:
        raise typer.Exit(status)


@command
def main() -> None:
    warnings.filterwarnings("ignore", module="PIL")  # a bad file has its row
    try:
        app()
    except SystemExit as end:
        if end.code == program.INTERRUPTED:
            raise KeyboardInterrupt from None
        sys.stdout.flush()
        raise
    except OSError as error:
        if fixable(error) is not None or not error.filename:
            raise
        raise PipelineError(f"{shown(str(error.filename))}: {error.strerror}") from None


if __name__ == "__main__":
    main()
