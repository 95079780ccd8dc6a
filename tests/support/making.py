"""Data sets that tests make as needed: images, folders, zips, and their parameters."""

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from deepfake.common.labels import SPLITS
from deepfake.data import shards
from deepfake.ingest.ingest import ingest
from deepfake.params import (
    ArchiveParams,
    CsvParams,
    DataParams,
    FolderParams,
    KaggleParams,
    NearDuplicateParams,
    SampleParams,
)
from deepfake.sources import open_source

LIMITS = ArchiveParams(max_files=10_000, max_gigabytes=1.0, max_ratio=100.0)


def encoded(image: Image.Image, format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def noise(number: int, width: int = 24, height: int = 24) -> Image.Image:
    rng = np.random.default_rng(number)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


def image_file(number: int, size: int = 24) -> bytes:
    """Return a PNG of noise, different for each number."""
    return encoded(noise(number, size, size), "PNG", compress_level=0)


def split_files(per_class: int = 4) -> dict[str, bytes]:
    """Distinct images in split and class folders: `train/real/0.png`, ..."""
    names = [
        f"{split}/{name}/{number}.png"
        for split in SPLITS
        for name in ("real", "fake")
        for number in range(per_class)
    ]
    return {name: image_file(number) for number, name in enumerate(names)}


def write(root: Path, files: Mapping[str, bytes]) -> Path:
    """Write these files into a directory; returns it."""
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return root


def zipped(path: Path, files: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    """Write a zip with these files; returns its path."""
    path.write_bytes(zip_bytes(files, method))
    return path


def zip_bytes(files: Mapping[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    """Return the bytes of a zip with these files; the same at any time."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name), data, method)
    return file.getvalue()


def settings(path: Path | str | list[str] = "unused", **changes: Any) -> DataParams:
    """Return parameters for a folder or zip, or several; `changes` are of `data`, `data.folder`,
    `data.folder.csv`, `data.near_duplicates` and `data.archive`, by their last name."""
    csv = {"file": None, "path_column": "path", "label_column": "label", "split_column": None}
    near = {"max_distance": 12, "drop_from_train": False}
    limits = LIMITS.model_dump()
    folder: dict[str, Any] = {"path": path if isinstance(path, list) else str(path)}
    folder |= {"real": ["real"], "fake": ["fake"]}
    folder |= {"valid_fraction": 0.2, "test_fraction": 0.2}
    values: dict[str, Any] = {"source": "folder", "limit_per_class": None, "max_bad_fraction": 0.0}
    values |= {"shard_megabytes": 256, "kaggle": KaggleParams(dataset="a/b/1")}
    values["sample"] = SampleParams(
        train_per_class=1, valid_per_class=1, test_per_class=1, size=64, strength=1.0
    )
    for section in (csv, near, limits, folder, values):
        section |= {key: changes.pop(key) for key in list(changes) if key in section}
    assert not changes, changes
    return DataParams(
        **values,
        near_duplicates=NearDuplicateParams(**near),
        archive=ArchiveParams(**limits),
        folder=FolderParams(**folder, csv=CsvParams(**csv)),
    )


def run(params: DataParams, directory: Path, seed: int = 1) -> dict[str, Any]:
    """Run `ingest` as its stage does; returns the report."""
    with open_source(params, seed) as source:
        return ingest(source, params, seed, directory)


def packed(directory: Path) -> dict[str, shards.ImageFile]:
    """Return the images written, by path."""
    return {item.path: item for split in SPLITS for item in shards.image_files(directory, split)}


def content(directory: Path) -> dict[str, bytes]:
    """Return the bytes of every file below a directory, by path."""
    return {
        path.relative_to(directory).as_posix(): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }
