"""What the commands of `cli.py` do; each returns its exit status."""

import json
import os
import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from deepfake.common.cluster import connected
from deepfake.common.errors import PipelineError
from deepfake.common.progress import bar
from deepfake.common.text import printable
from deepfake.data.images import BadImage
from deepfake.serving import description, inputs, report, rows
from deepfake.serving.about import about
from deepfake.serving.detector import Detector, NamedImage, Prediction
from deepfake.serving.file_facts import file_facts, lines
from deepfake.serving.inputs import File
from deepfake.serving.places import Refused
from deepfake.serving.predicting import Overlays, predictions, predictions_on
from deepfake.serving.report import THUMBNAILS, Counts

SOME_REFUSED = 3
_SUBJECT = 20  # columns in front of a sentence
_WIDEST = 100

T = TypeVar("T")


def predict(
    paths: list[str],
    model: str,
    format: str | None,
    output: Path | None,
    explain: Path | None,
    report_path: Path | None,
    threads: int | None,
    on_ray: bool,
) -> int:
    """Score what is named; the arguments are those of `cli.predict`."""
    for path in (output, report_path):
        if path and path.is_dir():
            raise PipelineError(f"{path} is a folder; name a file in it")
    of_output = rows.format_of(output) if output else "table"
    if report_path:
        report.require_suffix(report_path)
    overlays = Overlays(explain) if explain else None
    files = _named(paths)
    for path in filter(None, (output, report_path)):
        _require_apart(path, files)
    detector = Detector.load(model, threads)
    how = detector.description.explanation
    if overlays and how["method"] is None:
        raise PipelineError(f"the detector cannot explain scores: {how['why']}")
    counts = Counts()
    with ExitStack() as stack:
        writer = stack.enter_context(rows.writing(output, format or of_output))
        page = None
        if report_path:
            page = stack.enter_context(report.writing(report_path, detector.description))
        quiet = output is None and sys.stdout.isatty()  # there the rows show how far it is
        found = stack.enter_context(_predictions(detector, files, threads, on_ray))
        for file, prediction in _shown(found, len(files), quiet):
            counts.count(prediction)
            writer.write(prediction)
            with_thumbnail = page is not None and counts.total() <= THUMBNAILS
            data = None
            if prediction.score is not None and (overlays or with_thumbnail):
                data = _again(file)
            if overlays and data is not None:
                overlays.write(detector, NamedImage(file.name, data))
            if page:
                page.add(prediction, report.thumbnail(data) if data and with_thumbnail else None)
    print(counts.sentence(), file=sys.stderr)
    return SOME_REFUSED if counts["refused"] else 0


@contextmanager
def _predictions(
    detector: Detector, files: list[File], threads: int | None, on_ray: bool
) -> Iterator[Iterator[tuple[File, Prediction]]]:
    """Predictions of files by this machine, or by a Ray cluster while the block lasts."""
    if not on_ray:
        yield predictions(detector, files)
        return
    with connected(threads or 1) as cluster:
        print(f"on a Ray cluster, {cluster.size()}", file=sys.stderr)
        yield predictions_on(cluster, detector.folder, threads or 1, files)
        print(cluster.summary(), file=sys.stderr)


def inspect(paths: list[str], as_json: bool) -> int:
    """Print what files say of themselves."""
    refused = 0
    with rows.text(None) as out:
        for file in _named(paths):
            try:
                facts = file_facts(file.read())
            except (Refused, BadImage) as error:
                facts = {"refused": str(error)}
                refused += 1
            if as_json:
                row = {"name": printable(file.name), **facts}
                out.write(json.dumps(row, ensure_ascii=False) + "\n")
            else:
                told = [("refused", facts["refused"])] if "refused" in facts else lines(facts)
                out.write(f"{printable(file.name)}\n{_paragraphs(told, '  ')}\n")
            out.flush()
    return SOME_REFUSED if refused else 0


def model(source: str, as_json: bool) -> None:
    """Print what a detector is."""
    found = Detector.load(source).description
    with rows.text(None) as out:
        if as_json:
            out.write(json.dumps(description.as_dict(found), ensure_ascii=False) + "\n")
        else:
            out.write(_paragraphs(about(found)))


def _named(paths: list[str]) -> list[File]:
    found = inputs.find(paths)
    if passed_over := found.passed_over():
        print(passed_over, file=sys.stderr)
    return found.files


def _require_apart(path: Path, files: Iterable[File]) -> None:
    """Refuse to write a file that is to be read."""
    if not path.exists():
        return
    target = path.stat()
    for name in {file.on_disk for file in files if file.on_disk}:
        with suppress(OSError):  # what is not there any more gets its row
            if os.path.samestat(os.stat(name), target):
                raise PipelineError(f"{path} holds images to be scored: name another file")


def _again(file: File) -> bytes | None:
    """Read a file that was scored; files are not kept in memory until their scores come."""
    try:
        return file.read()
    except Refused as error:
        print(f"{printable(file.name)}: scored, and then {error}", file=sys.stderr)
        return None


def _shown(items: Iterable[T], total: int, quiet: bool) -> Iterator[T]:
    """Yield the items, and count them in a bar on standard error unless it should be quiet."""
    if quiet:
        yield from items
        return
    with bar(total, "predict", "images", brief=True) as progress:
        for item in items:
            yield item
            progress.update()


def _paragraphs(told: Iterable[tuple[str, str]], margin: str = "") -> str:
    """Sentences with their subjects in front, as wide as the terminal."""
    width = min(shutil.get_terminal_size().columns, _WIDEST)
    return "".join(
        textwrap.fill(
            said,
            max(width, 2 * _SUBJECT),
            initial_indent=f"{margin}{subject:<{_SUBJECT}} ",
            subsequent_indent=margin + " " * (_SUBJECT + 1),
        )
        + "\n"
        for subject, said in told
    )
