"""The metadata tables: one row per image, with its label and what the file itself says."""

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pandas as pd

from deepfake.common.files import reading, replacing
from deepfake.common.labels import LABEL_NAMES
from deepfake.common.threads import ordered
from deepfake.data import images
from deepfake.data.shards import ImageFile, batches, decoding

COLUMNS = (
    "image_id",
    "split",
    "label",
    "label_name",
    "path",
    "source",
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
# Every other column identifies the image or carries its label: no model may see it.
FEATURES = NUMERIC + CATEGORICAL + FLAGS

# How many rows are in memory at a time.
_CHUNK = 5000


def metadata_row(image_file: ImageFile) -> dict[str, Any]:
    """Compute the metadata of one image: a value for each of `COLUMNS`."""
    with decoding(image_file):
        facts = images.facts(image_file.data)
    return {
        "image_id": image_file.image_id,
        "split": image_file.split,
        "label": image_file.label,
        "label_name": LABEL_NAMES[image_file.label],
        "path": image_file.path,
        "source": image_file.source,
        "sha256": hashlib.sha256(image_file.data).hexdigest(),
        "bytes": len(image_file.data),
        **{field.name: getattr(facts, field.name) for field in fields(facts)},
    }


def write_metadata(path: Path | str, image_files: Iterable[ImageFile]) -> pd.Series:
    """Write the metadata table of one split, `_CHUNK` rows at a time.

    Returns:
        How many images were written of each class, by `label_name`.
    """
    counts = Counter(dict.fromkeys(LABEL_NAMES.values(), 0))
    with replacing(path) as partial, open(partial, "w", encoding="utf-8", newline="") as file:
        file.write(",".join(COLUMNS) + "\n")
        found = ordered(metadata_row, image_files, size=lambda image_file: len(image_file.data))
        for rows in batches(found, _CHUNK):
            table = pd.DataFrame(rows, columns=list(COLUMNS))
            table["jpeg_quality"] = table["jpeg_quality"].astype("Int64")
            table["bits_per_pixel"] = table["bits_per_pixel"].astype("float64").round(6)
            table.to_csv(file, header=False, index=False, lineterminator="\n")
            counts.update(row["label_name"] for row in rows)
    return pd.Series(counts)


def read_metadata(
    path: Path | str, columns: list[str] | None = None, rows: int | None = None
) -> pd.DataFrame:
    """Read the metadata table of one split, with the types that `write_metadata` gave it.

    Args:
        columns: the columns to read; all of them by default.
        rows: how many rows to read from the start; all of them by default.

    Raises:
        PipelineError: the file is damaged.
    """
    types: dict[str, Any] = dict.fromkeys(COLUMNS, "str")
    types |= dict.fromkeys(FLAGS, "bool")
    types |= {"label": "int8", "width": "int32", "height": "int32", "bytes": "int64"}
    types |= {"bits_per_pixel": "float64", "jpeg_quality": "float64"}
    # Read in pieces: pandas holds each string as its own object until a table is complete.
    with reading(path):
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
    """List the features that are not the same for every image, in the order of `FEATURES`."""
    return [name for name in FEATURES if table[name].nunique(dropna=False) > 1]
