"""Write an inspection as a page of text, with the command that uses the images."""

import re
import shlex
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from deepfake.common.labels import FAKE, LABEL_NAMES, REAL, SPLITS
from deepfake.common.overrides import written
from deepfake.common.text import shown
from deepfake.ingest.inspection import Inspection, Table, differences
from deepfake.ingest.summary import imbalanced, too_many
from deepfake.params import CsvParams, DataParams, FolderParams
from deepfake.sources import layouts
from deepfake.sources.base import Offer, Rejected
from deepfake.sources.kaggle import KNOWN

LISTED = 5
# A fact about the files whose ROC-AUC is at least this far from 0.5 is worth a warning.
TELLING = 0.1
# Files of each class from which on the facts say anything: with fewer, a fact that tells nothing
# lies farther than TELLING from 0.5 by chance in more than 2 of 100 data sets.
ENOUGH = 100


def text(found: Inspection, params: DataParams, warnings: Sequence[str] = ()) -> str:
    """Write an inspection for a terminal, with the subject of each line in the margin.

    Args:
        warnings: lines to add about what is not in the files.
    """
    lines = [
        ("source", f"{found.path}: {found.files:,} files, {found.bytes / 1e6:,.1f} MB"),
        ("layout", _layout(found)),
        *(("table", _of_table(table)) for table in found.tables),
    ]
    if found.folder is not None and found.offer is not None:
        lines += [("labels", line) for line in _labels(found, found.folder, found.offer)]
        lines += [("left out", f"{n:,} {why}") for why, n in found.offer.left_out.items()]
        if found.plan is not None:
            lines += [("unusable", line) for line in _unusable(found.rejected)]
        lines += [("counts", line) for line in _counts(found, found.offer)]
    if found.plan is not None:
        lines += [("sizes", line) for line in _sizes(found.facts)]
        lines += [("duplicates", line) for line in _duplicates(found)]
        lines += [("metadata", line) for line in _telling(found.facts)]
        lines += [("warning", line) for line in found.plan.warnings]
    lines += [("warning", line) for line in warnings]
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
        common = found.folders.most_common(2 * LISTED)
        names = ", ".join(f"{shown(name)} ({n:,})" for name, n in common)
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
            f"{shown(value)} = {'?' if label is None else LABEL_NAMES[label]}"
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
        what = f"`{folder.csv.label_column}`"
        tables = (table for table in found.tables if table.file == folder.csv.file)
        values = next((table.labels.get(folder.csv.label_column) for table in tables), None)
        if values is None:  # the column has not two values, or the file is not called a CSV
            yield f"by {what} of {folder.csv.file}"
            return
        meant = {value: names.label(value) for value in values}
    else:
        deciding = {layouts.deciding_folder(entry.path, names) for entry in offer.entries}
        meant = {name: names.label(name) for name in sorted(filter(None, deciding))}
        what = "folder"
    for label in (FAKE, REAL):
        of_label = [value for value, of in meant.items() if of == label]
        yield f"{LABEL_NAMES[label]} = {label}: {what} {layouts.first(of_label, 2 * LISTED)}"


def _counts(found: Inspection, offer: Offer) -> Iterable[str]:
    """Usable images of each split and class; a split that `ingest` draws is marked as drawn.

    Without a plan no image was read, and these are the images that the source offers.
    """
    counts = found.counts
    if found.plan is None:
        counts = Counter((entry.split or "all", entry.label) for entry in offer.entries)
    drawn = found.plan is not None and not _has_splits(offer)
    for split in (*SPLITS, "all"):
        if counts[split, REAL] + counts[split, FAKE]:
            note = " (drawn)" if drawn else ""
            real, fake = counts[split, REAL], counts[split, FAKE]
            yield f"{split:<6}{real:>8,} real {fake:>8,} fake{note}"


def _has_splits(offer: Offer) -> bool:
    return any(entry.split for entry in offer.entries)


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
        path, like = shown(pair["path"]), shown(pair["like_path"])
        yield f"  {path} like {like} (distance {pair['distance']})"


def _telling(facts: pd.DataFrame) -> Iterable[str]:
    """The facts about the files that tell the classes apart best."""
    counts = Counter(facts["label"])
    if min(counts[REAL], counts[FAKE]) < ENOUGH:
        yield (
            f"{counts[REAL]:,} real and {counts[FAKE]:,} fake files are too few to say whether "
            f"files alone tell the classes apart: that takes {ENOUGH} of each"
        )
        return
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
    if not found.folders and not any(table.path_column for table in found.tables):
        yield "put the images into one folder for each class, such as real/ and fake/"
        return
    if found.folder is None:
        yield from _unnamed(found, params)
        return
    if found.fault is not None:
        yield f"no command yet, because it would be refused: {_remedy(found, params)}"
        return
    yield _command(found, _table(found.folder.csv, params) | _advice(found, params))


def _unnamed(found: Inspection, params: DataParams) -> Iterable[str]:
    """How to name the classes, where nothing that was found means real or fake."""
    if found.guess is None:
        yield "name the classes: -S 'data.folder.real=[...]' -S 'data.folder.fake=[...]'"
        yield "or a table: -S data.folder.csv.file=... and its columns"
        return
    real, fake = found.guess.real, found.guess.fake
    yield f"if {shown(fake[0])} means fake (else change the two):"
    classes = {"data.folder.real": real, "data.folder.fake": fake}
    yield _command(found, _table(found.guess.csv, params) | classes)


def _table(csv: CsvParams, params: DataParams) -> dict[str, Any]:
    """The parameters of the table that labels the images; without one, only what has to change."""
    before = params.folder.csv
    if csv.file is None:
        return {} if before.file is None else {"data.folder.csv.file": None}
    values: dict[str, Any] = {
        "data.folder.csv.file": csv.file,
        "data.folder.csv.path_column": csv.path_column,
        "data.folder.csv.label_column": csv.label_column,
    }
    if csv.split_column != before.split_column:
        values["data.folder.csv.split_column"] = csv.split_column
    return values


def _command(found: Inspection, values: dict[str, Any]) -> str:
    """The command that uses what was inspected, with further parameters."""
    values = {"data.source": "folder", "data.folder.path": found.path, **values}
    name = re.sub(r"[^A-Za-z0-9-]+", "-", Path(found.path).stem).strip("-") or "mine"
    return f"dvc exp run -n {name} " + " ".join(_override(k, v) for k, v in values.items())


def _remedy(found: Inspection, params: DataParams) -> str:
    """What to do about a class without images in some split."""
    limit = ""
    if params.limit_per_class is not None:
        limit = f", or raise the limit of {params.limit_per_class:,} images of each class"
    if found.offer is not None and _has_splits(found.offer):
        return (
            f"add images to the folders of what is missing{limit}. Or have the splits drawn: put "
            "all images into one folder for each class, without split folders"
        )
    fractions = (params.folder.valid_fraction, params.folder.test_fraction)
    needed = next((n for n in range(3, 10_000) if _fills_splits(n, fractions)), None)
    if needed is None:
        return "give data.folder.valid_fraction and data.folder.test_fraction a larger share"
    return (
        f"add images{limit}. The splits are drawn, and with data.folder.valid_fraction="
        f"{fractions[0]:g} and data.folder.test_fraction={fractions[1]:g} that takes at least "
        f"{needed} usable images of each class"
    )


def _fills_splits(images: int, fractions: tuple[float, float]) -> bool:
    """Whether so many images of a class leave no drawn split without any (`assign_splits`)."""
    drawn = [round(fraction * images) for fraction in fractions]
    return min(*drawn, images - sum(drawn)) > 0


def _advice(found: Inspection, params: DataParams) -> dict[str, Any]:
    """Parameters that these images need in addition to those that name the folder."""
    advice: dict[str, Any] = {}
    if found.plan is None:
        return advice
    checked = len(found.plan.placed) + len(found.plan.rejected)
    if too_many(len(found.rejected), checked, params.max_bad_fraction):
        advice["data.max_bad_fraction"] = -(-1000 * len(found.rejected) // checked) / 1000
    left = found.counts_without_near()
    if left != found.counts and min(left["train", label] for label in LABEL_NAMES) > 0:
        advice["data.near_duplicates.drop_from_train"] = True
    if imbalanced(found.counts["train", REAL], found.counts["train", FAKE]):
        advice |= {"baseline.class_weight": "balanced", "train.class_weight": "balanced"}
    return advice


def _override(key: str, value: Any) -> str:
    """Write `-S key=value` for Hydra, which DVC uses, and for the shell."""
    change = f"{key}={value if isinstance(value, str) and _is_plain(value) else written(value)}"
    return "-S " + (change if re.fullmatch(r"[\w./=-]+", change, re.ASCII) else shlex.quote(change))


def _is_plain(value: str) -> bool:
    """Whether a value is read as text without quotation marks, which `2024` and `null` are not."""
    return bool(re.fullmatch(r"(\.{0,2}/)?[A-Za-z_][\w./-]*", value, re.ASCII)) and (
        value.lower() not in ("true", "false", "null", "nan", "inf")
    )


def _cut(line: str, length: int = 120) -> str:
    return line if len(line) <= length else line[: length - 3] + "..."
