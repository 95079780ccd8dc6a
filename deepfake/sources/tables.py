"""Read split and class from a table: a CSV whose rows name images."""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from deepfake.common.errors import PipelineError
from deepfake.common.labels import FAKE, LABEL_NAMES, REAL
from deepfake.common.text import folded, shown
from deepfake.sources.layouts import SHOWN, SPLIT_NAMES, ClassNames, Place, first, is_image

# Columns of a table; those of images have a few.
MAX_COLUMNS = 1000
# Columns that a message names.
SHOWN_COLUMNS = 20


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the table: the name of an image as written there, and its label and split."""

    number: int
    name: str
    label: str
    split: str | None


def read_table(
    data: bytes,
    path_column: str,
    label_column: str,
    split_column: str | None,
    where: str,
    max_rows: int,
) -> list[Row]:
    """Read the rows of a CSV (UTF-8, comma-separated, with a header), numbered by line.

    Raises:
        PipelineError: not a CSV, a column is missing or there twice, or as `read_csv` does.
    """
    wanted = [path_column, label_column, *([split_column] if split_column else [])]
    lines = read_csv(data, where, max_rows)
    _, header = next(lines, (0, []))
    columns = first(header, SHOWN_COLUMNS) or "(none)"
    if missing := [name for name in wanted if name not in header]:
        raise PipelineError(
            f"{where} has no column {' and no column '.join(missing)}; its columns are: {columns}. "
            "Set data.folder.csv to the ones to use."
        )
    if several := [name for name in wanted if header.count(name) > 1]:
        raise PipelineError(
            f"{where} has more than one column {several[0]}, and they may differ; its columns are: "
            f"{columns}. Rename all but one of them."
        )
    at = [header.index(name) for name in wanted]
    rows = [
        _row(number, [cells[i] if i < len(cells) else "" for i in at])
        for number, cells in lines
        if cells
    ]
    if not rows:
        raise PipelineError(f"{where} has a header and no rows")
    return rows


def read_csv(data: bytes, where: str, max_rows: int) -> Iterator[tuple[int, list[str]]]:
    """Yield the lines of a CSV with their numbers, including the header.

    Raises:
        PipelineError: not a CSV, more rows than `max_rows`, more columns than `MAX_COLUMNS`, or a
            cell of more than 131,072 characters (the limit of Python's `csv`).
    """
    try:
        reader = csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True)
        for number, cells in enumerate(reader):
            if number > max_rows:
                raise PipelineError(
                    f"{where} has more than {max_rows:,} rows, the most that "
                    "data.archive.max_files allows"
                )
            if len(cells) > MAX_COLUMNS:
                raise PipelineError(
                    f"{where} has {len(cells):,} columns in line {reader.line_num}; at most "
                    f"{MAX_COLUMNS:,} are read"
                )
            yield reader.line_num, cells
    except (UnicodeDecodeError, csv.Error) as error:
        raise PipelineError(
            f"{where} cannot be read as a CSV: {error}. Expected UTF-8 with commas and a header."
        ) from None


def _row(number: int, cells: list[str]) -> Row:
    return Row(number, cells[0], cells[1], cells[2] if len(cells) > 2 else None)


def match_table(
    rows: list[Row], paths: Iterable[str], names: ClassNames, where: str
) -> dict[str, Place]:
    """Return split and label of each path that the table names.

    A row names an image by its path, by the end of its path (`test/fake/1.jpg` or `1.jpg`), or
    by either without its suffix, ignoring case.

    Raises:
        PipelineError: rows that name no image or several, unknown labels or splits, or two
            rows that disagree.
    """
    endings = _Endings(paths)
    found: dict[str, Place] = {}
    faults: list[str] = []
    for row in rows:
        candidates = endings.named(row.name)
        label = names.label(row.label)
        split = SPLIT_NAMES.get(folded(row.split)) if row.split is not None else None
        told = f"line {row.number}: {_quoted(row.name)}"
        if len(candidates) != 1:
            faults.append(f"{told} names " + (first(candidates) or "an image that is not there"))
        elif label is None:
            faults.append(f"{told} has the label {_quoted(row.label)}")
        elif row.split is not None and split is None:
            faults.append(f"{told} has the split {_quoted(row.split)}")
        elif found.setdefault(candidates[0], Place(split, label)) != Place(split, label):
            faults.append(f"{told} contradicts an earlier row")
    if faults:
        raise PipelineError(
            f"{where}: {len(faults)} of {len(rows)} rows cannot be used (labels known are "
            f"{names.shown}):\n  " + "\n  ".join(faults[:SHOWN])
        )
    return found


def named(names: Iterable[str], paths: Iterable[str]) -> dict[str, str]:
    """Map each name that matches exactly one image, as rows of a table do, to its path."""
    endings = _Endings(paths)
    candidates = {name: endings.named(name) for name in names}
    return {name: found[0] for name, found in candidates.items() if len(found) == 1}


class _Endings:
    """Paths of images, by their last parts.

    There is an index for each number of parts that names have, so that a name is looked up and not
    compared with every path that ends alike, such as those of thousands of `0.png`; and each name
    is looked up once.
    """

    def __init__(self, paths: Iterable[str]) -> None:
        self._paths = [(folded(path), path) for path in paths]
        self._most_parts = max((plain.count("/") + 1 for plain, _ in self._paths), default=0)
        self._indexes: dict[int, dict[str, list[tuple[str, str]]]] = {}
        self._known: dict[str, list[str]] = {}

    def named(self, name: str) -> list[str]:
        """The paths that `name` may mean."""
        wanted = folded(name.replace("\\", "/")).removeprefix("./").lstrip("/")
        if wanted not in self._known:
            self._known[wanted] = self._found(wanted)
        return self._known[wanted]

    def _found(self, wanted: str) -> list[str]:
        parts = wanted.count("/") + 1
        if parts > self._most_parts:
            return []
        found = self._index(parts).get(_without_suffix(wanted), [])
        if is_image(wanted):
            found = [pair for pair in found if pair[0].endswith(wanted)]
        exact = [path for plain, path in found if plain == wanted]
        return exact or [path for _, path in found]

    def _index(self, parts: int) -> dict[str, list[tuple[str, str]]]:
        if parts not in self._indexes:
            index = self._indexes[parts] = {}
            for plain, path in self._paths:
                last = plain.rsplit("/", parts)[-parts:]
                if len(last) == parts:
                    index.setdefault(_without_suffix("/".join(last)), []).append((plain, path))
        return self._indexes[parts]


def _without_suffix(plain: str) -> str:
    return plain[: plain.rindex(".")] if is_image(plain) else plain


def oddities(
    rows: Sequence[Row], found: Mapping[str, Place], paths: Iterable[str], where: str
) -> list[str]:
    """Return warnings about a table whose rows can all be used."""
    odd: list[str] = []
    if len(rows) > len(found):
        odd.append(
            f"{where}: {len(rows) - len(found)} of {len(rows)} rows name an image that an earlier "
            "row names as well, with the same label and split"
        )
    unnamed = [path for path in paths if path not in found]
    if unnamed:
        odd.append(
            f"{where}: no row names {len(unnamed)} of {len(unnamed) + len(found)} images, which "
            f"are left out: {first(unnamed)}"
        )
    return odd


def contradictions(found: Mapping[str, Place], folders: Mapping[str, Place], where: str) -> None:
    """Raise PipelineError if table and class folders disagree: one of them is misread.

    Folders that are all of one class say nothing: the name is that of the whole data set. Images
    outside any class folder do not change that.
    """
    classes = {folders[path].label for path in found} - {None}
    if classes != {REAL, FAKE}:
        return
    wrong = [
        f"{path} ({LABEL_NAMES[found[path].label or 0]} in the table)"
        for path in found
        if folders[path].label not in (None, found[path].label)
    ]
    if wrong:
        raise PipelineError(
            f"{where}: {len(wrong)} of {len(found)} rows contradict the class folders: "
            f"{first(wrong)}. Check which label means fake (data.folder.real, data.folder.fake)."
        )


def _quoted(cell: str) -> str:
    return f"'{shown(cell)}'"
