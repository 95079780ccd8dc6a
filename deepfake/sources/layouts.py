"""Read split and class from paths and tables.

Folder names are compared whole and ignoring case; the deepest one that means something wins:
`real_vs_fake/real-vs-fake/train/real/1.jpg` is a real image of the training split.
"""

import csv
import io
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import PurePosixPath

from deepfake.common.errors import PipelineError
from deepfake.common.labels import FAKE, LABEL_NAMES, REAL, SPLITS
from deepfake.data.images import SUFFIXES

SPLIT_NAMES = {
    "train": "train", "training": "train",
    "valid": "valid", "val": "valid", "validation": "valid", "validate": "valid", "dev": "valid",
    "test": "test", "testing": "test",
}  # fmt: skip
SHOWN = 5


@dataclass(frozen=True, slots=True)
class Place:
    """Split and label of an image as its path or a table gives them; None if not given."""

    split: str | None
    label: int | None


class ClassNames:
    """Which names mean real and which fake, ignoring case.

    Args:
        real, fake: folder names or table values.
    """

    def __init__(self, real: Sequence[str], fake: Sequence[str]) -> None:
        self.labels = {_plain(name): REAL for name in real} | {_plain(name): FAKE for name in fake}
        self.shown = f"real: {', '.join(real)}; fake: {', '.join(fake)}"

    def label(self, name: str) -> int | None:
        return self.labels.get(_plain(name))


def is_image(path: str) -> bool:
    """Whether the name is that of an image; the content is not looked at."""
    return path.lower().endswith(SUFFIXES)


def place(path: str, names: ClassNames) -> Place:
    """Return split and label by the folders of a path; the deepest that means something wins."""
    split: str | None = None
    label: int | None = None
    for folder in PurePosixPath(path).parts[:-1]:
        here = _place_of_folder(folder, names)
        split = here.split or split
        label = label if here.label is None else here.label
    return _shared(split, label)


@cache
def _shared(split: str | None, label: int | None) -> Place:
    """Return one object for all images in the same place, which saves memory."""
    return Place(split, label)


def deciding_folder(path: str, names: ClassNames) -> str | None:
    """Return the folder of a path that tells its label, or the word in it that does."""
    for folder in reversed(PurePosixPath(path).parts[:-1]):
        if _place_of_folder(folder, names).label is not None:
            return folder if names.label(folder) is not None else _class_word(folder, names)
    return None


def _class_word(folder: str, names: ClassNames) -> str:
    return next(word for word in _words(folder) if word in names.labels)


def _words(folder: str) -> list[str]:
    return re.split(r"[-_. ]+", _plain(folder))


def _place_of_folder(folder: str, names: ClassNames) -> Place:
    split, label = SPLIT_NAMES.get(_plain(folder)), names.label(folder)
    if split is None and label is None:
        # `training_real` means both; `real_vs_fake` means neither.
        words = _words(folder)
        splits = [SPLIT_NAMES[word] for word in words if word in SPLIT_NAMES]
        labels = [names.labels[word] for word in words if word in names.labels]
        if len(words) == 2 and len(splits) == len(labels) == 1:
            return Place(splits[0], labels[0])
    return Place(split, label)


def complete_splits(splits: Mapping[str, str | None], where: str) -> bool:
    """Return whether the images come with splits: all of them or none.

    Args:
        splits: split (or None) of each path.
        where: the source, for the message.

    Raises:
        PipelineError: some images are in a split and some are not.
    """
    without = [path for path, split in splits.items() if split is None]
    if not without or len(without) == len(splits):
        return not without
    raise PipelineError(
        f"{where}: {len(without)} of {len(splits)} images are in none of the split folders "
        f"({', '.join(SPLITS)} or a usual spelling), though the others are in one. Outside: "
        f"{_first(without)}. Move them into a split, or set data.folder.csv.split_column."
    )


def require_labels(labels: Mapping[str, int | None], names: ClassNames, where: str) -> None:
    """Raise PipelineError if an image has no label, listing the first few."""
    without = [path for path, label in labels.items() if label is None]
    if without:
        raise PipelineError(
            f"{where}: no class for {len(without)} of {len(labels)} images: {_first(without)}. "
            f"Class folders are found by these names ({names.shown}); change data.folder.real and "
            "data.folder.fake, or name a table of labels in data.folder.csv.file."
        )


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
        PipelineError: not a CSV, a column is missing, or more rows than `max_rows`.
    """
    wanted = [path_column, label_column, *([split_column] if split_column else [])]
    lines = read_csv(data, where, max_rows)
    _, header = next(lines, (0, []))
    missing = [name for name in wanted if name not in header]
    if missing:
        raise PipelineError(
            f"{where} has no column {' and no column '.join(missing)}; its columns are: "
            f"{', '.join(header) or '(none)'}. Set data.folder.csv to the ones to use."
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
        PipelineError: not a CSV, or more rows than `max_rows`.
    """
    try:
        reader = csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True)
        for number, cells in enumerate(reader):
            if number > max_rows:
                raise PipelineError(
                    f"{where} has more than {max_rows:,} rows, the most that "
                    "data.archive.max_files allows"
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
    by_stem = _by_stem(paths)
    found: dict[str, Place] = {}
    faults: list[str] = []
    for row in rows:
        candidates = _candidates(row.name, by_stem)
        label = names.label(row.label)
        split = SPLIT_NAMES.get(_plain(row.split)) if row.split is not None else None
        shown = f"line {row.number}: {row.name!r}"
        if len(candidates) != 1:
            faults.append(f"{shown} names " + (_first(candidates) or "an image that is not there"))
        elif label is None:
            faults.append(f"{shown} has the label {row.label!r}")
        elif row.split is not None and split is None:
            faults.append(f"{shown} has the split {row.split!r}")
        elif found.setdefault(candidates[0], Place(split, label)) != Place(split, label):
            faults.append(f"{shown} contradicts an earlier row")
    if faults:
        raise PipelineError(
            f"{where}: {len(faults)} of {len(rows)} rows cannot be used (labels known are "
            f"{names.shown}):\n  " + "\n  ".join(faults[:SHOWN])
        )
    return found


def named(names: Iterable[str], paths: Iterable[str]) -> dict[str, str]:
    """Map each name that matches exactly one image, as rows of a table do, to its path."""
    by_stem = _by_stem(paths)
    candidates = {name: _candidates(name, by_stem) for name in names}
    return {name: found[0] for name, found in candidates.items() if len(found) == 1}


def _by_stem(paths: Iterable[str]) -> dict[str, list[str]]:
    by_stem: dict[str, list[str]] = {}
    for path in paths:
        by_stem.setdefault(_stem(_plain(path)), []).append(path)
    return by_stem


def _candidates(name: str, by_stem: Mapping[str, list[str]]) -> list[str]:
    wanted = _plain(name.replace("\\", "/")).removeprefix("./").lstrip("/")
    bare = not is_image(wanted)
    candidates = by_stem.get(_stem(wanted), [])
    matching = [path for path in candidates if _ends_with(path, wanted, bare)]
    exact = [path for path in matching if _plain(path) == wanted]
    return exact or matching


def _ends_with(path: str, wanted: str, bare: bool) -> bool:
    path = _plain(path)
    path = path[: path.rindex(".")] if bare else path
    return path == wanted or path.endswith("/" + wanted)


def _stem(plain: str) -> str:
    """Return the last part of a path, without the suffix of an image."""
    name = plain.rsplit("/", 1)[-1]
    return name[: name.rindex(".")] if is_image(name) else name


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
            f"are left out: {_first(unnamed)}"
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
            f"{_first(wrong)}. Check which label means fake (data.folder.real, data.folder.fake)."
        )


def _plain(text: str) -> str:
    return unicodedata.normalize("NFC", text.strip()).casefold()


def _first(items: Sequence[str]) -> str:
    return ", ".join(items[:SHOWN]) + (", ..." if len(items) > SHOWN else "")
