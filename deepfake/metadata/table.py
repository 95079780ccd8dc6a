"""The metadata tables: a row an image, with its label and what the file itself says."""

import hashlib
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pandas as pd

from deepfake.common import threads
from deepfake.common.files import replacing
from deepfake.common.labels import LABEL_NAMES
from deepfake.data import images, shards

COLUMNS = (
    "image_id",
    "split",
    "label",
    "label_name",
    "path",
    "sha256",
    "format",
    "mode",
    "width",
    "height",
    "bytes",
    "bits_per_pixel",
    "jpeg_quality",
    "subsampling",
    "progressive",
    "has_exif",
    "has_icc",
)
NUMERIC = ("width", "height", "bytes", "bits_per_pixel", "jpeg_quality")
CATEGORICAL = ("format", "mode", "subsampling")
FLAGS = ("progressive", "has_exif", "has_icc")
# Everything else identifies the image or carries its label: no model may see it.
FEATURES = NUMERIC + CATEGORICAL + FLAGS

_CHUNK = 5000


def metadata_row(image_file: shards.ImageFile) -> dict[str, Any]:
    """The metadata of one image: a value for each of `COLUMNS`."""
    facts = images.facts(image_file.data)
    return {
        "image_id": image_file.image_id,
        "split": image_file.split,
        "label": image_file.label,
        "label_name": LABEL_NAMES[image_file.label],
        "path": image_file.path,
        "sha256": hashlib.sha256(image_file.data).hexdigest(),
        "bytes": len(image_file.data),
        **{field.name: getattr(facts, field.name) for field in fields(facts)},
    }


def write_metadata(path: Path | str, image_files: Iterator[shards.ImageFile]) -> pd.Series:
    """Write one split's table, a chunk in memory at a time; returns the images of each class by
    `label_name`."""
    counts = pd.Series(0, index=list(LABEL_NAMES.values()))
    with replacing(path) as partial, open(partial, "w", encoding="utf-8", newline="") as file:
        chunk: list[dict[str, Any]] = []
        header = True

        def flush() -> None:
            nonlocal header, chunk, counts
            table = pd.DataFrame(chunk, columns=list(COLUMNS))
            table["jpeg_quality"] = table["jpeg_quality"].astype("Int64")
            table["bits_per_pixel"] = table["bits_per_pixel"].astype("float64").round(6)
            table.to_csv(file, header=header, index=False, lineterminator="\n")
            counts = counts.add(table["label_name"].value_counts(), fill_value=0).astype(int)
            header, chunk = False, []

        for image_file in threads.ordered(metadata_row, image_files):
            chunk.append(image_file)
            if len(chunk) == _CHUNK:
                flush()
        if chunk or header:
            flush()
    return counts.reindex(list(LABEL_NAMES.values()))


def read_metadata(
    path: Path | str, columns: list[str] | None = None, rows: int | None = None
) -> pd.DataFrame:
    """Read one split's table, or some of its columns or its first rows, with the types that `write`
    gave them."""
    types: dict[str, Any] = dict.fromkeys(COLUMNS, "str")
    types |= dict.fromkeys(FLAGS, "bool")
    types |= {"label": "int8", "width": "int32", "height": "int32", "bytes": "int64"}
    types |= {"bits_per_pixel": "float64", "jpeg_quality": "float64"}
    # In pieces: pandas holds each string as an object of its own until a table is complete.
    pieces = pd.read_csv(
        path,
        usecols=columns,
        dtype=types,
        keep_default_na=False,
        na_values=[""],
        chunksize=_CHUNK,
        nrows=rows,
    )
    return pd.concat(pieces, ignore_index=True)


def varying(table: pd.DataFrame) -> list[str]:
    """The feature columns that are not the same for every image, in the order of `FEATURES`."""
    return [name for name in FEATURES if table[name].nunique(dropna=False) > 1]
