"""Inputs that nobody thought of: archives, tables and image files, 21,000 of them in each run.

Whatever comes, only the project's own errors are raised, nothing is written, no program is started,
and no memory is kept.
"""

import gc
import io
import os
import struct
import sys
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from deepfake.common.errors import PipelineError
from deepfake.common.labels import SPLITS
from deepfake.data import images
from deepfake.data.images import BadImage
from deepfake.ingest.near_duplicates import perceptual_hash
from deepfake.ingest.planning import make_plan
from deepfake.sources import layouts, tables
from deepfake.sources.archive import Archive
from deepfake.sources.base import Unreadable
from deepfake.sources.folder import FolderSource
from tests.support.making import LIMITS, encoded, noise
from tests.support.making import settings as parameters

ARCHIVES, TABLES, IMAGES = 4000, 8500, 8500
# Of the inputs, so many are used again and again to see whether memory is kept.
KEPT, ROUNDS, FIRST = 400, 6, 2
# Bytes that may stay, of Python's own and of the process.
LEAK, RESIDENT = 50e3, 8e6
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
FORBIDDEN = (
    "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate",
    "os.chmod", "os.utime", "os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen",
    "socket.connect", "pickle.find_class", "shutil.",
)  # fmt: skip
pytestmark = pytest.mark.slow
NAMES = layouts.ClassNames(["real", "0"], ["fake", "1"])
PATHS = [f"{split}/{name}/{n}.jpg" for split in SPLITS for name in ("real", "fake") for n in "ab"]


class Watch:
    """What Python does that input has no business to make it do, by its own audit events."""

    def __init__(self) -> None:
        self.active, self.seen = False, list[tuple[str, Any]]()
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.active:
            return
        if event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITING:
            # Modules that are imported for the first time are compiled and kept.
            if "__pycache__" not in str(arguments[0]):
                self.seen.append((event, arguments[0]))
        elif event.startswith(FORBIDDEN):
            self.seen.append((event, arguments))

    @contextmanager
    def __call__(self) -> Iterator[None]:
        self.seen.clear()
        self.active = True
        try:
            yield
        finally:
            self.active = False
        assert self.seen == []


@pytest.fixture(scope="module")
def watch() -> Watch:
    return Watch()


def fuzz(
    strategy: Any,
    number: int,
    use: Callable[[Any], None],
    watch: Watch,
    prepare: Callable[[Any], Any] = lambda item: None,
) -> None:
    """Use `number` inputs; then some of them again and again, which must not need more memory."""
    kept: list[Any] = []
    count = 0

    @settings(
        max_examples=number, deadline=None, database=None, print_blob=True,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(strategy)
    def once(item: Any) -> None:
        nonlocal count
        count += 1
        if count % (number // KEPT) == 0:
            kept.append(item)
        prepare(item)
        with watch():
            use(item)

    once()
    assert count >= number
    gc.collect()
    tracemalloc.start()
    resident, own = [], []
    for _ in range(ROUNDS):
        for item in kept:
            prepare(item)
            use(item)
        gc.collect()
        resident.append(psutil.Process().memory_info().rss)
        own.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    print(resident, own)
    # The first rounds fill caches and the allocator's pools.
    assert own[-1] - own[FIRST] < LEAK
    assert resident[-1] - resident[FIRST] < RESIDENT


# ---- archives

PART = st.one_of(
    st.sampled_from(["..", ".", "", "C:", "train", "test", "real", "fake", "__MACOSX", "~", "NUL"]),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
)
SUFFIX = st.sampled_from([".jpg", ".PNG", "", "/", ".csv"])
NAME = st.builds(
    lambda parts, slash, suffix: slash.join(parts) + suffix,
    st.lists(PART, min_size=1, max_size=5),
    st.sampled_from(["/", "\\", "//"]),
    SUFFIX,
)
METHODS = [zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]
MEMBER = st.tuples(
    NAME, st.binary(max_size=30), st.sampled_from(METHODS), st.integers(0, 2**32 - 1)
)
# Where from the end of the file, and to what, a byte is changed: the list of files is at the end.
EDITS = st.lists(st.tuples(st.integers(1, 400), st.integers(0, 255)), max_size=6)


def zip_of(members: list[Any], edits: list[tuple[int, int]], cut: int) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data, method, attributes in members:
            info = zipfile.ZipInfo("x")
            info.filename, info.external_attr = name, attributes
            archive.writestr(info, data, method)
    body = bytearray(file.getvalue())
    for place, value in edits:
        body[-min(place, len(body))] = value
    return bytes(body[: len(body) - cut])


ZIPS = st.builds(
    zip_of, st.lists(MEMBER, max_size=4), EDITS, st.one_of(st.just(0), st.integers(0, 60))
)


@pytest.mark.filterwarnings("ignore")
def test_archives(watch: Watch, tmp_path: Path) -> None:
    path = tmp_path / "data.zip"

    def use(data: bytes) -> None:
        try:
            with Archive(path, LIMITS) as archive:
                for name in archive.members:
                    assert_safe(name)
                    with suppress(Unreadable):
                        archive.read(name)
        except PipelineError:
            return
        with FolderSource(path, "data.zip", NAMES, LIMITS) as source, suppress(PipelineError):
            make_plan(source, parameters(), seed=1)

    fuzz(ZIPS, ARCHIVES, use, watch, path.write_bytes)
    assert list(tmp_path.iterdir()) == [path]


def assert_safe(name: str) -> None:
    parts = name.split("/")
    assert not name.startswith("/")
    assert ".." not in parts
    assert "" not in parts
    assert "\\" not in name
    assert "\0" not in name
    name.encode("utf-8")


# ---- tables

CELL = st.one_of(
    st.sampled_from([*PATHS, "a.jpg", "real", "fake", "0", "1", "train", "path", "label", '"', ""]),
    st.text(max_size=6),
)
ROWS = st.lists(st.lists(CELL, max_size=4), max_size=6)


def csv_of(rows: list[list[str]], header: list[str], mark: bytes, end: str) -> bytes:
    text = end.join(",".join(row) for row in [header, *rows])
    return mark + text.encode("utf-8", "surrogatepass")


CSVS = st.one_of(
    st.builds(
        csv_of,
        ROWS,
        st.sampled_from([["path", "label"], ["path", "label", "split"], ["id", "path", "label"]]),
        st.sampled_from([b"", b"\xef\xbb\xbf", b"\xff\xfe"]),
        st.sampled_from(["\n", "\r\n", "\r"]),
    ),
    st.binary(max_size=80).map(lambda data: b"path,label\n" + data),
    st.binary(max_size=80),
)


def test_tables(watch: Watch) -> None:
    folders = {path: layouts.place(path, NAMES) for path in PATHS}

    def use(data: bytes) -> None:
        for split_column in (None, "split"):
            try:
                rows = tables.read_table(data, "path", "label", split_column, "t.csv", 1000)
                found = tables.match_table(rows, PATHS, NAMES, "t.csv")
                tables.contradictions(found, folders, "t.csv")
                tables.oddities(rows, found, PATHS, "t.csv")
            except PipelineError:
                continue
            assert all(place.label is not None for place in found.values())

    fuzz(CSVS, TABLES, use, watch)


# ---- images


def originals() -> list[bytes]:
    image = noise(1, 20, 16)
    animation = {"save_all": True, "append_images": [noise(2, 20, 16)]}
    exif = Image.Exif()
    exif[0x0112] = 6
    return [
        encoded(image, "JPEG", exif=exif, icc_profile=b"profile"),
        encoded(image, "JPEG", progressive=True, restart_marker_blocks=1),
        encoded(image.convert("CMYK"), "JPEG"),
        encoded(image, "PNG", exif=exif),
        encoded(image.convert("P"), "PNG", transparency=3),
        encoded(image.convert("RGBA"), "PNG", **animation),
        encoded(image.convert("I;16"), "PNG"),
        encoded(image, "WEBP", lossless=True),
        encoded(image, "WEBP", **animation),
        encoded(image, "GIF", **animation),
        encoded(image, "BMP"),
        encoded(image.convert("1"), "BMP"),
        encoded(image, "TIFF"),
        encoded(image, "TIFF", compression="tiff_lzw"),
        encoded(image, "TIFF", compression="jpeg"),
    ]


def spoilt(data: bytes, edits: list[tuple[float, int]], cut: float, more: bytes) -> bytes:
    """Bytes changed, most of them in the header; cut; and something put at the end."""
    body = bytearray(data)
    for place, value in edits:
        body[int(place**3 * len(body))] = value
    return bytes(body[: int(cut * len(body))]) + more


FILES = st.one_of(
    st.builds(
        spoilt,
        st.sampled_from(originals()),
        st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), max_size=8),
        st.one_of(st.just(1.0), st.floats(0, 1)),
        st.binary(max_size=8),
    ),
    st.builds(
        lambda kind, body: kind + body,
        st.sampled_from(
            [b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"II*\0", b"RIFF"]
        ),
        st.binary(max_size=60),
    ),
    st.binary(max_size=40),
)


@pytest.mark.filterwarnings("ignore")
def test_images(watch: Watch) -> None:
    def use(data: bytes) -> None:
        reasons: list[str] = []
        try:
            pixels = images.decode(data)
            assert pixels.ndim == 3
            assert pixels.shape[2] == 3
            perceptual_hash(pixels)
        except BadImage as error:
            reasons.append(error.reason)
        try:
            images.facts(data)
        except BadImage as error:
            reasons.append(error.reason)
        assert set(reasons) <= set(images.REASONS)

    fuzz(FILES, IMAGES, use, watch)


def test_the_watch_sees_what_it_is_for(watch: Watch, tmp_path: Path) -> None:
    for act in (
        lambda: (tmp_path / "x").write_bytes(b""),
        lambda: (tmp_path / "y").mkdir(),
        lambda: os.system("true"),
    ):
        with pytest.raises(AssertionError), watch():
            act()
    with watch():
        struct.pack("<I", 1)
