"""A synthetic archive in the layout of Kaggle's `xhlulu/140k-real-and-fake-faces`, of any size.

Its images are spliced from few: each portrait is encoded once with a restart marker after each
row of blocks (ITU-T T.81, E.1.4), where a decoder begins anew, so that rows of portraits with the
same tables can be joined at the cost of copying them. Each image then is a valid JPEG file of its
own, of true size and true cost of decoding.
"""

import hashlib
import io
import re
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image

from deepfake.common.files import replacing
from deepfake.common.labels import LABEL_NAMES, REAL, SPLITS
from deepfake.sources.portraits.render import render
from deepfake.sources.sample import ROOT

SIDE = 256  # pixels, as in the data set
PORTRAITS = 24  # of each class
# Quality and chroma subsampling (Pillow's numbers). The files are then of 9 to 16 kB.
ENCODERS = ((85, 2), (88, 2), (80, 0), (90, 1))
PARTS = {"train": 100, "valid": 20, "test": 20}  # thousands in the data set, both classes
HEADER = ",original_path,id,label,label_str,path\n"
_TIME = (2026, 1, 1, 0, 0, 0)
_RESTART = re.compile(rb"\xff[\xd0-\xd7]")


@dataclass(frozen=True)
class Template:
    """Encodings that may be mixed: `rows[portrait][row]` is entropy-coded data after `header`."""

    header: bytes
    rows: list[list[bytes]]

    def spliced(self, rng: np.random.Generator) -> bytes:
        """An image whose every row of blocks is of a portrait drawn anew."""
        count = len(self.rows[0])
        drawn = rng.integers(len(self.rows), size=count)
        parts = [self.header]
        for row, portrait in enumerate(drawn):
            parts.append(self.rows[portrait][row])
            last = row == count - 1
            parts.append(b"\xff\xd9" if last else bytes((0xFF, 0xD0 + row % 8)))
        return b"".join(parts)


def templates(label: int, count: int = PORTRAITS) -> list[Template]:
    """A template for each of `ENCODERS`, from `count` portraits of a class."""
    drawn = [
        Image.open(io.BytesIO(render(label=label, seed=0, index=index, size=SIDE)))
        for index in range(count)
    ]
    return [_template(drawn, *encoder) for encoder in ENCODERS]


def _template(drawn: Sequence[Image.Image], quality: int, subsampling: int) -> Template:
    headers, rows = set(), []
    for image_file in drawn:
        stream = io.BytesIO()
        image_file.save(
            stream, "JPEG", quality=quality, subsampling=subsampling, restart_marker_rows=1
        )
        data = stream.getvalue()
        scan = data.index(b"\xff\xda")
        start = scan + 2 + int.from_bytes(data[scan + 2 : scan + 4], "big")
        headers.add(data[:start])
        rows.append(_RESTART.split(data[start:].removesuffix(b"\xff\xd9")))
    (header,) = headers  # one encoder, one size, standard Huffman tables: one header
    return Template(header, rows)


def counts(size: int) -> dict[str, int]:
    """Images of each class in each split, in the data set's proportions, of `size` in all."""
    return {split: round(size * part / sum(PARTS.values()) / 2) for split, part in PARTS.items()}


def write(path: Path, size: int, portraits_per_class: int = PORTRAITS) -> int:
    """Write an archive of `size` images and the three tables; returns how many it has. Only the
    zip's own directory is held in memory."""
    made = {label: templates(label, portraits_per_class) for label in LABEL_NAMES}
    rng = np.random.default_rng(size)
    written = 0
    with (
        replacing(path) as partial,
        zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
    ):
        for split in SPLITS:
            with tempfile.TemporaryFile("w+", encoding="utf-8") as table:
                table.write(HEADER)
                for label, place in _places(split, counts(size)[split], table):
                    template = made[label][rng.integers(len(ENCODERS))]
                    info = zipfile.ZipInfo(f"{ROOT}/{place}", _TIME)
                    info.compress_type = zipfile.ZIP_DEFLATED
                    archive.writestr(info, template.spliced(rng), compresslevel=1)
                    written += 1
                table.seek(0)
                archive.writestr(zipfile.ZipInfo(f"{split}.csv", _TIME), table.read())
    return written


def _places(split: str, per_class: int, table: IO[str]) -> Iterator[tuple[int, str]]:
    """Label and path of each image of a split, with its row added to the table, where 1 means
    real."""
    number = 0
    for label in sorted(LABEL_NAMES, reverse=True):
        for index in range(per_class):
            real = label == REAL
            name = f"{SPLITS.index(split)}{index:05}" if real else _name(f"{split}{index}")
            place = f"{split}/{LABEL_NAMES[label]}/{name}.jpg"
            origin = "flickr" if real else "1-million-fake-faces/1m_faces_00"
            table.write(
                f"{number},/kaggle/input/{origin}/{name}.jpg,{name},{int(real)},"
                f"{LABEL_NAMES[label]},{place}\n"
            )
            number += 1
            yield label, place


def _name(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:10].upper()
