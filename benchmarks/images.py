"""The images that both sides are measured on, as a plain folder, which ours reads too."""

from pathlib import Path, PurePosixPath
from typing import Any

from deepfake import params
from deepfake.common.labels import LABEL_NAMES
from deepfake.data import images
from deepfake.ingest.ingest import ingest
from deepfake.ingest.planning import image_id, make_plan, split_of
from deepfake.sources import open_source
from deepfake.sources.base import Unreadable


def settings(data: Path | None, limit_per_class: int | None = None) -> params.Params:
    """The parameters of params.yaml with `data`, a zip or folder (None: the drawn sample), as the
    source, and at most `limit_per_class` images of each class."""
    found = params.load()
    chosen: dict[str, Any] = {"source": "sample", "limit_per_class": limit_per_class}
    if data is not None:
        folder = found.data.folder.model_copy(update={"path": str(data.resolve())})
        chosen |= {"source": "folder", "folder": folder}
    return found.model_copy(update={"data": found.data.model_copy(update=chosen)})


def unpack(found: params.Params, target: Path) -> int:
    """Write the images that `ingest` would take as `{split}/{real,fake}/{id}{suffix}` below
    `target`, their bytes as they are; returns how many."""
    written = 0
    with open_source(found.data, found.seed) as source:
        for entry in make_plan(source, found.data, found.seed).placed:
            try:
                data = source.read(entry)
                images.decode(data)
            except (Unreadable, images.BadImage):
                continue
            folder = target / split_of(entry) / LABEL_NAMES[entry.label]
            folder.mkdir(parents=True, exist_ok=True)
            suffix = PurePosixPath(entry.path).suffix
            (folder / f"{image_id(entry.path)}{suffix}").write_bytes(data)
            written += 1
    return written


def pack(found: params.Params, target: Path) -> None:
    """The same images as the shards that `ingest` writes."""
    with open_source(found.data, found.seed) as source:
        ingest(source, found.data, found.seed, target)
