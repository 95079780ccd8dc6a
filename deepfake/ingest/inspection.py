"""Analyse a folder or zip before anything runs, and find the parameters to use it with.

The analysis covers layout, labels, counts, duplicates, and how well single facts about the files
tell fakes from reals. `inspection_page` writes it as text.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

import pandas as pd
from sklearn.metrics import roc_auc_score

from deepfake.common.errors import PipelineError
from deepfake.common.labels import FAKE, LABEL_NAMES, REAL
from deepfake.common.progress import shown
from deepfake.common.text import shown as shown_text
from deepfake.data.shards import ImageFile
from deepfake.ingest.ingest import read_all
from deepfake.ingest.near_duplicates import HashesBySplit
from deepfake.ingest.planning import Plan, check_classes, make_plan, split_of
from deepfake.metadata.table import CATEGORICAL, FEATURES, FLAGS, NUMERIC, metadata_row
from deepfake.params import ArchiveParams, CsvParams, DataParams, FolderParams
from deepfake.sources import layouts, tables
from deepfake.sources.archive import Archive
from deepfake.sources.base import Offer, Rejected, Unreadable
from deepfake.sources.folder import FolderSource, open_folder
from deepfake.sources.remote import located


@dataclass
class Table:
    """A CSV in the archive.

    Attributes:
        file: its path in the archive.
        rows: how many rows it has, without the header.
        path_column: the column whose values name images; None if no column does.
        labels: for each column with two values, the label that each value means, or None where
            neither the names in `data.folder.real` and `data.folder.fake` nor the class folders
            tell.
    """

    file: str
    rows: int
    path_column: str | None
    labels: dict[str, dict[str, int | None]]


@dataclass
class Inspection:
    """What was found in a folder or zip.

    Attributes:
        path: as it was given.
        files: how many files the archive holds.
        bytes: their total size.
        tables: the CSVs in it.
        folders: the names of folders with images below them, with the number of those images.
        folder: the parameters with which it can be read; None if it cannot.
        fault: why it cannot be used; None if it can.
        guess: where the parameters tell no labels: others that do, if the labels mean what they are
            taken for; None if there are none.
        offer: the images with label and split; None if these cannot be determined.
        plan: what `ingest` would write, if all of it can be used.
        rejected: images that cannot be used.
        counts: usable images by split and label.
        facts: one row per usable image, with the columns `label` and `FEATURES`.
        near: near-duplicates across splits, as `HashesBySplit.near_duplicates` returns them.
    """

    path: str
    files: int
    bytes: int
    tables: list[Table]
    folders: Counter[str]
    folder: FolderParams | None = None
    fault: str | None = None
    guess: FolderParams | None = None
    offer: Offer | None = None
    plan: Plan | None = None
    rejected: list[Rejected] = field(default_factory=list)
    counts: Counter[tuple[str, int]] = field(default_factory=Counter)
    facts: pd.DataFrame = field(default_factory=pd.DataFrame)
    near: list[dict[str, Any]] = field(default_factory=list)

    def counts_without_near(self) -> Counter[tuple[str, int]]:
        """`counts` where `ingest` leaves near-duplicates out of train."""
        labels = {name: label for label, name in LABEL_NAMES.items()}
        left = self.counts.copy()
        left.subtract((p["split"], labels[p["label"]]) for p in self.near if p["split"] == "train")
        return left


def inspect(path: str, params: DataParams, seed: int) -> Inspection:
    """Analyse a folder or zip and read every image in it; nothing is written.

    Where the parameters do not tell the labels, class folders and the tables in it are tried.

    Args:
        path: a folder or zip, as in `data.folder.path`.
        params: limits, names of classes and `limit_per_class`.
        seed: for `limit_per_class`, and for drawing splits where the archive has none.

    Raises:
        PipelineError: `path` does not exist or is not a zip.
    """
    given = params.folder.model_copy(update={"path": path})
    with Archive(located(path), params.archive) as archive:
        paths = [name for name in archive.members if layouts.is_image(name)]
        found = Inspection(
            path=path,
            files=len(archive.members),
            bytes=archive.members.bytes,
            tables=_tables(archive, paths, given, params.archive.max_files),
            folders=Counter(name for path in paths for name in PurePosixPath(path).parts[:-1]),
        )
        table_is_here = given.csv.file is None or given.csv.file in archive.members
    others = [] if table_is_here else [_by_folders(given)]  # else its faults are to be told
    for folder in [given, *others, *_by_tables(given, found.tables)]:
        try:
            with open_folder(folder, params.archive) as source:
                found.offer = source.offer()
                found.folder, found.fault = folder, None
                _read(source, found, params.model_copy(update={"folder": folder}), seed)
            return found
        except PipelineError as error:
            found.fault = found.fault or str(error)
            if found.folder is not None:
                return found
    found.guess = _guess(given, found.tables, params.archive)
    return found


def _read(source: FolderSource, found: Inspection, params: DataParams, seed: int) -> None:
    """Read all images and set `plan`, `rejected`, `counts`, `facts` and `near` of `found`.

    Raises:
        PipelineError: a class is empty in some split, now or after unusable images are taken out.
    """
    found.plan = make_plan(source, params, seed)
    found.rejected = list(found.plan.rejected)
    hashes = HashesBySplit()
    rows: list[tuple[Any, ...]] = []
    results = read_all(source, found.plan.placed)
    for entry, result, hash in shown(results, len(found.plan.placed), "inspect", "images"):
        if isinstance(result, ImageFile):
            hashes.add(entry, hash)
            found.counts[split_of(entry), entry.label] += 1
            row = metadata_row(result)
            rows.append((result.label, *(row[name] for name in FEATURES)))
        else:
            found.rejected.append(result)
    found.facts = pd.DataFrame(rows, columns=["label", *FEATURES])
    found.near = hashes.near_duplicates(params.near_duplicates.max_distance)
    dropping = params.near_duplicates.drop_from_train
    check_classes(
        found.counts_without_near() if dropping else found.counts,
        "after unusable images were taken out",
    )


def _tables(archive: Archive, paths: list[str], folder: FolderParams, max_rows: int) -> list[Table]:
    """The CSVs in an archive that can be read; `paths` are the images in it."""
    names = layouts.ClassNames(folder.real, folder.fake)
    found: list[Table] = []
    for file in archive.members:
        if not file.lower().endswith(".csv"):
            continue
        try:
            lines = [line for _, line in tables.read_csv(archive.read(file), file, max_rows)]
        except (PipelineError, Unreadable):
            continue
        if lines:
            found.append(_table(file, lines[0], [row for row in lines[1:] if row], paths, names))
    return found


def _table(
    file: str, header: list[str], rows: list[list[str]], paths: list[str], names: layouts.ClassNames
) -> Table:
    # A column whose name is there twice, or cannot be typed, is of no use as a parameter.
    columns = {
        name: [row[i] if i < len(row) else "" for row in rows]
        for i, name in enumerate(header)
        if header.count(name) == 1 and shown_text(name) == name
    }
    paths_of = tables.named({cell for values in columns.values() for cell in values}, paths)
    matches = {
        column: {cell: paths_of[cell] for cell in set(values) if cell in paths_of}
        for column, values in columns.items()
        if column
    }
    # Of columns that name equally many images, the one called "path" is preferred.
    best = max(matches, key=lambda column: (len(matches[column]), column == "path"), default=None)
    if best is None or not matches[best]:
        return Table(file, len(rows), None, {})
    folders = [
        layouts.place(matches[best][name], names).label if name in matches[best] else None
        for name in columns[best]
    ]
    labels = {
        column: {value: _meaning(value, values, folders, names) for value in sorted(set(values))}
        for column, values in columns.items()
        if column != best and len(set(values)) == 2
    }
    return Table(file, len(rows), best, labels)


def _meaning(
    value: str, values: list[str], folders: list[int | None], names: layouts.ClassNames
) -> int | None:
    """The label that a value of a column means, by its name or the folders of its rows' images.

    Args:
        value: one of `values`.
        values: the column.
        folders: the label that the class folder of each row's image gives; None for no label.
    """
    meant = {label for cell, label in zip(values, folders, strict=True) if cell == value}
    folder = meant.pop() if len(meant) == 1 else None
    return folder if names.label(value) is None else names.label(value)


def _by_folders(folder: FolderParams) -> FolderParams:
    """Parameters that read the labels from class folders."""
    return folder.model_copy(update={"csv": folder.csv.model_copy(update={"file": None})})


def _by_tables(folder: FolderParams, found: list[Table]) -> list[FolderParams]:
    """Parameters that read the labels from a table, for each column that names both classes."""
    names = layouts.ClassNames(folder.real, folder.fake)
    return [
        folder.model_copy(update={"csv": csv})
        for csv, values in _columns(found)
        if {names.label(value) for value in values} == {REAL, FAKE}
    ]


def _guess(folder: FolderParams, found: list[Table], limits: ArchiveParams) -> FolderParams | None:
    """Parameters that read a table whose two labels may mean anything, if they can be used: the
    first as real. Columns that are called labels come first."""
    names = layouts.ClassNames(folder.real, folder.fake)
    columns = sorted(_columns(found), key=lambda pair: "label" not in pair[0].label_column.lower())
    for csv, values in columns:
        if not all(value and shown_text(value) == value for value in values):
            continue
        if any(names.label(value) is not None for value in values):
            continue  # only one of them is unknown, and can be added to its class
        real, fake = values
        guess = folder.model_copy(update={"csv": csv, "real": [real], "fake": [fake]})
        with suppress(PipelineError), open_folder(guess, limits) as source:
            source.offer()
            return guess
    return None


def _columns(found: list[Table]) -> Iterator[tuple[CsvParams, list[str]]]:
    """Each column of two values that may label images, as parameters, with the values."""
    for table in found:
        if table.path_column is not None:
            for column, values in table.labels.items():
                csv = CsvParams(
                    file=table.file,
                    path_column=table.path_column,
                    label_column=column,
                    split_column=None,
                )
                yield csv, list(values)


def differences(facts: pd.DataFrame) -> list[tuple[str, float]]:
    """Measure how well each single fact about the files tells fakes from reals.

    Args:
        facts: one row per image, with the columns `label` and `FEATURES`.

    Returns:
        Pairs of a feature (or `feature=value`) and its ROC-AUC, farthest from 0.5 first. Above
        0.5, fakes have higher values.
    """
    if facts["label"].nunique() < 2:
        return []
    columns = {name: facts[name].astype("float64") for name in NUMERIC}
    columns |= {name: facts[name].astype("float64") for name in FLAGS}
    for name in CATEGORICAL:
        for value in sorted(facts[name].unique()):
            columns[f"{name}={value}"] = (facts[name] == value).astype("float64")
    found: list[tuple[str, float]] = []
    for name, values in columns.items():
        known = values.notna()
        if values[known].nunique() > 1 and facts["label"][known].nunique() == 2:
            found.append((name, float(roc_auc_score(facts["label"][known], values[known]))))
    return sorted(found, key=lambda item: -abs(item[1] - 0.5))
