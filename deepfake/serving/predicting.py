"""Score the files that a command line names, and draw where their scores come from."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache, partial
from itertools import groupby, islice
from pathlib import Path

from deepfake.common.cluster import Cluster
from deepfake.common.errors import PipelineError
from deepfake.common.files import replacing
from deepfake.common.text import printable, shown
from deepfake.serving.detector import Detector, NamedImage, Prediction
from deepfake.serving.inputs import File
from deepfake.serving.places import Refused
from deepfake.serving.tables import TableRow

_TOGETHER = 64  # files that a node of a cluster is sent
_LONGEST_PART = 200  # bytes of a name in a folder, so that what is added to it still fits


def predictions(detector: Detector, files: Iterable[File]) -> Iterator[tuple[File, Prediction]]:
    """Score files, in order and in constant memory; one that cannot be read is refused."""
    waiting: deque[tuple[File, str | None]] = deque()  # read, or refused, and not yielded yet

    def readable() -> Iterator[NamedImage]:
        for file in files:
            try:
                data = file.read()
            except Refused as error:
                waiting.append((file, str(error)))
            else:
                waiting.append((file, None))
                yield NamedImage(file.name, data)

    def refused() -> Iterator[tuple[File, Prediction]]:
        """Those that come next, and never went to the detector."""
        while waiting and waiting[0][1] is not None:
            file, reason = waiting.popleft()
            yield file, Prediction(file.name, None, None, reason)

    for prediction in detector.stream(readable()):
        yield from refused()
        yield waiting.popleft()[0], prediction
    yield from refused()


def predictions_on(
    cluster: Cluster, folder: Path, threads: int, files: list[File]
) -> Iterator[tuple[File, Prediction]]:
    """Score files on a cluster, in order: what `predictions` yields.

    Args:
        cluster: its nodes read files and detector themselves, under the same paths as here.
        folder: of the detector.
        threads: of each of the cluster's tasks.
        files: none of them is standard input.

    Raises:
        PipelineError: one is standard input, or what `Cluster.ordered` raises.
    """
    if any(file.is_standard_input for file in files):
        raise PipelineError("other machines cannot read standard input: use the executor local")
    pieces = _pieces(files)
    score = partial(_scored, folder.absolute(), threads)
    for piece, found in zip(pieces, cluster.ordered(score, pieces, _range), strict=True):
        yield from zip(piece, found, strict=True)


def _pieces(files: list[File]) -> list[list[File]]:
    """The files that a node is sent together: those of a row group, which it reads in one piece;
    of others `_TOGETHER`."""
    pieces = []
    for row_group, together in groupby(files, _row_group):
        size = None if row_group else _TOGETHER
        while piece := list(islice(together, size)):
            pieces.append(piece)
    return pieces


def _row_group(file: File) -> tuple[str, int] | None:
    row = file.place
    return (row.path, row.group) if isinstance(row, TableRow) else None


def _scored(folder: Path, threads: int, files: list[File]) -> list[Prediction]:
    """Score files on a node."""
    return [prediction for _, prediction in predictions(_detector(folder, threads), files)]


@lru_cache(maxsize=1)
def _detector(folder: Path, threads: int) -> Detector:
    """Load the detector once in each process."""
    return Detector(folder, threads)


def _range(files: list[File]) -> str:
    return f"the files from {shown(files[0].name)} to {shown(files[-1].name)}"


class Overlays:
    """A folder of overlays: `faces/a.jpg` is explained by `faces/a.jpg.png` in it.

    Args:
        folder: it must be new or empty, so that nothing is overwritten.

    Raises:
        PipelineError: it is neither.
    """

    def __init__(self, folder: Path) -> None:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise PipelineError(
                f"{folder} is not an empty folder; overlays go into a new or empty one, so that "
                "nothing is overwritten: name another, or empty it"
            )
        self._folder = folder

    def write(self, detector: Detector, image: NamedImage) -> None:
        """Explain an image that was scored.

        Raises:
            PipelineError: the detector cannot explain.
        """
        overlay = detector.explain(image).overlay()
        with replacing(self._free(image.name)) as partial:
            overlay.save(partial, "PNG")

    def _free(self, name: str) -> Path:
        """Where the overlay of the file goes; inside the folder, whatever the name is."""
        parts = [_safe(part) for part in Path(name).parts if part != Path(name).anchor]
        folder = self._folder
        for part in parts[:-1]:
            folder = _numbered(folder / part, Path.is_file)  # of a zip with `a.jpg.png/b.jpg`
        # Such as `../a.jpg` and `__/a.jpg`.
        return _numbered(folder / f"{parts[-1]}.png", Path.exists)


def _numbered(path: Path, taken: Callable[[Path], bool]) -> Path:
    """`path`, or the first of `a (2).png`, `a (3).png` that is not taken."""
    found, number = path, 2
    while taken(found):
        found = path.with_name(f"{path.stem} ({number}){path.suffix}")
        number += 1
    return found


def _safe(part: str) -> str:
    """A part of a path that leads into a folder, and is not too long for one."""
    if part == "..":
        return "__"
    return os.fsencode(printable(part))[:_LONGEST_PART].decode("utf-8", "ignore")
