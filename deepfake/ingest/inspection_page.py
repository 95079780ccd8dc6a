"""Write an inspection as a page of text, with the command that uses the images."""

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from deepfake.common.labels import FAKE, LABEL_NAMES, REAL, SPLITS
from deepfake.ingest.inspection import Inspection, Table, differences
from deepfake.ingest.planning import split_of
from deepfake.ingest.summary import imbalanced
from deepfake.params import DataParams, FolderParams
from deepfake.sources import layouts
from deepfake.sources.base import Offer, Rejected
from deepfake.sources.kaggle import KNOWN

LISTED = 5
# A fact about the files whose ROC-AUC is at least this far from 0.5 is worth a warning.
TELLING = 0.1


def text(found: Inspection, params: DataParams) -> str:
    """Write an inspection for a terminal, with the subject of each line in the margin."""
    lines = [
        ("source", f"{found.path}: {found.files:,} files, {found.bytes / 1e6:,.1f} MB"),
        ("layout", _layout(found)),
        *(("table", _of_table(table)) for table in found.tables),
    ]
    if found.folder is not None and found.offer is not None:
        lines += [("labels", line) for line in _labels(found, found.folder, found.offer)]
        lines += [("counts", line) for line in _counts(found)]
        lines += [("left out", f"{n:,} {why}") for why, n in found.offer.left_out.items()]
    if found.plan is not None:
        lines += [("sizes", line) for line in _sizes(found.facts)]
        lines += [("unusable", line) for line in _unusable(found.rejected)]
        lines += [("duplicates", line) for line in _duplicates(found)]
        lines += [("metadata", line) for line in _telling(found.facts)]
        lines += [("warning", line) for line in found.plan.warnings]
    lines += [("fault", line) for line in (found.fault or "").splitlines()]
    lines += [("use", line) for line in _use(found, params)]
    page: list[str] = []
    previous = ""
    for name, line in lines:
        page.append(f"{'' if name == previous else name:<11} {line}".rstrip())
        previous = name
    return "\n".join(page)


def _layout(found: Inspection) -> str:
    """What tells labels and splits, or the folders there are if nothing does."""
    if found.offer is None or found.folder is None:
        names = ", ".join(f"{name} ({n:,})" for name, n in found.folders.most_common(2 * LISTED))
        return f"not recognised; folders with images below them: {names or 'none'}"
    by = "class folders" if found.folder.csv.file is None else f"the table {found.folder.csv.file}"
    splits = any(entry.split for entry in found.offer.entries)
    layout = f"{by} in split folders" if splits else f"{by}, no splits"
    if splits and found.folder.csv.file is not None:
        layout = f"{by}, split folders"
    for ref, known in KNOWN.items():
        if all(f"/{known.below}/".lower() in f"/{e.path}".lower() for e in found.offer.entries):
            layout += f", as Kaggle's {ref}"
    return layout


def _of_table(table: Table) -> str:
    """A table's rows, the column that names images, and what the values of others mean."""
    if table.path_column is None:
        return f"{table.file}: {table.rows:,} rows; no column names images"
    told = [
        f"`{column}`: "
        + ", ".join(
            f"{value} = {'?' if label is None else LABEL_NAMES[label]}"
            for value, label in values.items()
        )
        for column, values in table.labels.items()
        if any(label is not None for label in values.values()) or "label" in column.lower()
    ]
    by = f"{table.file}: {table.rows:,} rows, images by `{table.path_column}`"
    return "; ".join([by, *told])


def _labels(found: Inspection, folder: FolderParams, offer: Offer) -> Iterable[str]:
    """The folder names or values of the table that mean each label."""
    names = layouts.ClassNames(folder.real, folder.fake)
    if folder.csv.file is not None:
        (table,) = (table for table in found.tables if table.file == folder.csv.file)
        meant = {value: names.label(value) for value in table.labels[folder.csv.label_column]}
        what = f"`{folder.csv.label_column}`"
    else:
        deciding = {layouts.deciding_folder(entry.path, names) for entry in offer.entries}
        meant = {name: names.label(name) for name in sorted(filter(None, deciding))}
        what = "folder"
    for label in (FAKE, REAL):
        values = [value for value, of in meant.items() if of == label]
        yield f"{LABEL_NAMES[label]} = {label}: {what} {', '.join(values)}"


def _counts(found: Inspection) -> Iterable[str]:
    """Images of each split and class; a split that `ingest` draws is marked as drawn."""
    assert found.offer is not None
    placed = found.plan.placed if found.plan is not None else []
    counts = Counter((split_of(item), item.label) for item in placed) or Counter(
        (entry.split or "all", entry.label) for entry in found.offer.entries
    )
    drawn = bool(placed) and not any(entry.split for entry in found.offer.entries)
    for split in (*SPLITS, "all"):
        if counts[split, REAL] + counts[split, FAKE]:
            note = " (drawn)" if drawn else ""
            real, fake = counts[split, REAL], counts[split, FAKE]
            yield f"{split:<6}{real:>8,} real {fake:>8,} fake{note}"


def _sizes(facts: pd.DataFrame) -> Iterable[str]:
    """Formats and modes, sizes in pixels, sizes in kB."""
    if facts.empty:
        return
    kinds = Counter(facts["format"] + " " + facts["mode"]).most_common(LISTED)
    yield ", ".join(f"{kind} {number:,}" for kind, number in kinds)
    sizes = Counter(zip(facts["width"], facts["height"], strict=True))
    common = ", ".join(f"{w} x {h} ({n:,})" for (w, h), n in sizes.most_common(LISTED))
    yield f"{len(sizes):,} sizes in pixels: {common}"
    low, middle, high = (facts["bytes"] / 1000).quantile([0, 0.5, 1])
    yield f"{low:.1f} to {high:.1f} kB, half of them below {middle:.1f}"


def _unusable(rejected: list[Rejected]) -> Iterable[str]:
    for reason, number in Counter(item.reason for item in rejected).most_common():
        first = ", ".join(item.path for item in rejected if item.reason == reason)
        yield f"{number:,} {reason}: {_cut(first)}"
    if not rejected:
        yield "none"


def _duplicates(found: Inspection) -> Iterable[str]:
    assert found.plan is not None
    exact = found.plan.duplicates
    dropped = sum(exact["dropped"].values())
    yield (
        f"exact: {exact['files']:,} files in {exact['groups']:,} groups; {dropped:,} left out "
        "because a more important split has the same image; "
        f"{exact['under_both_labels']:,} under both labels"
    )
    counts = Counter(pair["split"] for pair in found.near)
    yield f"near, across splits: {counts['train']:,} in train, {counts['valid']:,} in valid"
    for pair in found.near[:LISTED]:
        yield f"  {pair['path']} like {pair['like_path']} (distance {pair['distance']})"


def _telling(facts: pd.DataFrame) -> Iterable[str]:
    """The facts about the files that tell the classes apart best."""
    found = differences(facts)
    if not found:
        yield "the files of both classes are alike"
        return
    yield "ROC-AUC of single facts about the files; 0.5: no difference, above: higher for fakes"
    for name, value in found[:LISTED]:
        yield f"  {value:.3f} {name}"
    if abs(found[0][1] - 0.5) >= TELLING:
        yield "  Files tell the classes apart: a model may learn that instead of faces."


def _use(found: Inspection, params: DataParams) -> Iterable[str]:
    """The command that uses the images, or the parameters that are missing for it."""
    if found.folder is None:
        yield "name the classes: -S 'data.folder.real=[...]' -S 'data.folder.fake=[...]'"
        yield "or a table: -S data.folder.csv.file=... and its columns"
        return
    values: dict[str, str] = {}
    values["data.source"] = "folder"
    values["data.folder.path"] = found.path
    csv = found.folder.csv
    if csv.file is not None:
        values["data.folder.csv.file"] = csv.file
        values["data.folder.csv.path_column"] = csv.path_column
        values["data.folder.csv.label_column"] = csv.label_column
    values.update({key: str(value).lower() for key, value in _advice(found, params).items()})
    name = re.sub(r"[^A-Za-z0-9-]+", "-", Path(found.path).stem).strip("-") or "mine"
    yield f"dvc exp run -n {name} " + " ".join(_override(k, v) for k, v in values.items())


def _advice(found: Inspection, params: DataParams) -> dict[str, Any]:
    """Parameters that these images need in addition to those that name the folder."""
    advice: dict[str, Any] = {}
    if found.plan is None:
        return advice
    checked = len(found.plan.placed) + len(found.plan.rejected)
    if len(found.rejected) > params.max_bad_fraction * checked:
        advice["data.max_bad_fraction"] = -(-1000 * len(found.rejected) // checked) / 1000
    if any(pair["split"] == "train" for pair in found.near):
        advice["data.near_duplicates.drop_from_train"] = True
    labels = Counter(item.label for item in found.plan.placed if item.split == "train")
    if imbalanced(labels[REAL], labels[FAKE]):
        advice |= {"baseline.class_weight": "balanced", "train.class_weight": "balanced"}
    return advice


def _override(key: str, value: str) -> str:
    """Write `-S key=value`, quoted for Hydra's grammar, which DVC uses, and for the shell."""
    if re.fullmatch(r"[\w./-]+", value, re.ASCII):
        return f"-S {key}={value}"
    # Hydra reads a backslash as itself, unless a quotation mark follows.
    escaped = re.sub(r'(\\*)("|$)', lambda m: 2 * m[1] + ('\\"' if m[2] else ""), value)
    return "-S " + "'" + f'{key}="{escaped}"'.replace("'", "'\\''") + "'"


def _cut(line: str, length: int = 120) -> str:
    return line if len(line) <= length else line[: length - 3] + "..."
