"""Files that may come from anyone: archives, tables, images, and the parameters."""

import io
import zipfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from PIL import Image

from deepfake import params
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
from tests.support.making import LIMITS, encoded, noise, settings
from tests.torture.targets import INPUT, ROOT, Opened, Target, spoilt

NAMES = layouts.ClassNames(["real", "0"], ["fake", "1"])
PATHS = [f"{split}/{name}/{n}.jpg" for split in SPLITS for name in ("real", "fake") for n in "ab"]
EDITS = st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), max_size=8)
CUT = st.one_of(st.just(1.0), st.floats(0, 1))


# --- Archives


def _zip_of(members: list[Any], edits: list[tuple[int, int]], cut: int) -> bytes:
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


def _zips() -> SearchStrategy[bytes]:
    part = st.one_of(
        st.sampled_from(
            ["..", ".", "", "C:", "train", "test", "real", "fake", "__MACOSX", "~", "NUL"]
        ),
        st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    )
    name = st.builds(
        lambda parts, slash, suffix: slash.join(parts) + suffix,
        st.lists(part, min_size=1, max_size=5),
        st.sampled_from(["/", "\\", "//"]),
        st.sampled_from([".jpg", ".PNG", "", "/", ".csv"]),
    )
    methods = st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
    member = st.tuples(name, st.binary(max_size=30), methods, st.integers(0, 2**32 - 1))
    # Where from the end a byte is changed, and to what: the list of files is at the end.
    edits = st.lists(st.tuples(st.integers(1, 400), st.integers(0, 255)), max_size=6)
    cut = st.one_of(st.just(0), st.integers(0, 60))
    return st.builds(_zip_of, st.lists(member, max_size=4), edits, cut)


@contextmanager
def _archives(folder: Path) -> Opened:
    path = folder / INPUT

    def use(data: bytes) -> None:
        with suppress(PipelineError):
            with Archive(path, LIMITS) as archive:
                for name in archive.members:
                    _assert_safe(name)
                    with suppress(Unreadable):
                        archive.read(name)
            with FolderSource(path, "data.zip", NAMES, LIMITS) as source:
                make_plan(source, settings(), seed=1)
        assert list(folder.iterdir()) == [path]

    yield use


def _assert_safe(name: str) -> None:
    parts = name.split("/")
    assert not name.startswith("/")
    assert ".." not in parts
    assert "" not in parts
    assert "\\" not in name
    assert "\0" not in name
    name.encode("utf-8")


# --- Tables


def _csv_of(rows: list[list[str]], header: list[str], mark: bytes, end: str) -> bytes:
    text = end.join(",".join(row) for row in [header, *rows])
    return mark + text.encode("utf-8", "surrogatepass")


def _csvs() -> SearchStrategy[bytes]:
    words = ["a.jpg", "real", "fake", "0", "1", "train", "path", "label", '"', "", "x" * 140_000]
    cell = st.one_of(st.sampled_from([*PATHS, *words]), st.text(max_size=6))
    headers = [["path", "label"], ["path", "label", "split"], ["id", "path", "label"]]
    return st.one_of(
        st.builds(
            _csv_of,
            st.lists(st.lists(cell, max_size=4), max_size=6),
            st.sampled_from(headers),
            st.sampled_from([b"", b"\xef\xbb\xbf", b"\xff\xfe"]),
            st.sampled_from(["\n", "\r\n", "\r"]),
        ),
        st.binary(max_size=80).map(lambda data: b"path,label\n" + data),
        st.binary(max_size=80),
    )


@contextmanager
def _tables(folder: Path) -> Opened:
    folders = {path: layouts.place(path, NAMES) for path in PATHS}

    def use(data: bytes) -> None:
        for split_column in (None, "split"):
            with suppress(PipelineError):
                rows = tables.read_table(data, "path", "label", split_column, "t.csv", 1000)
                found = tables.match_table(rows, PATHS, NAMES, "t.csv")
                tables.contradictions(found, folders, "t.csv")
                tables.oddities(rows, found, PATHS, "t.csv")
                assert all(place.label is not None for place in found.values())

    yield use


# --- Images


def _originals() -> list[bytes]:
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


def _image_files() -> SearchStrategy[bytes]:
    kinds = [b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"II*\0", b"RIFF"]
    return st.one_of(
        st.builds(spoilt, st.sampled_from(_originals()), EDITS, CUT, st.binary(max_size=8)),
        st.builds(lambda kind, body: kind + body, st.sampled_from(kinds), st.binary(max_size=60)),
        st.binary(max_size=40),
    )


@contextmanager
def _decoding(folder: Path) -> Opened:
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

    yield use


# --- Parameters

# Values that YAML makes of a few letters, and that no parameter is meant to have.
STRANGE = [
    "", "~", "[]", "{}", "[[]]", "{{}}", "{a: {b: [c]}}", "-1", "1e999", ".nan", "0x_", "1" * 5000,
    "2024-13-01", "2024-01-01", "12:30:45", "y", "!!python/object:os.system {}", "!!binary a",
    "!!set {a}", "!!omap [a: b]", "&a [*a]", "*a", "&a {b: *a}", "{<<: *a}", "? [a]", "[" * 3000,
    "{a: " * 3000, "'", '"\\x"', "|", "- a", "\t", "%YAML 2.0", "---", "...", "null: null",
    "{[a]: b}", "{{a: b}: c}", "{1: a, 1: b}", "{~: a}", "x" * 10_000, "../../etc/passwd", "\u2028",
    "&a [x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nd: &d [*c, *c]\ne: &e [*d, *d]",
]  # fmt: skip


def _yamls() -> SearchStrategy[bytes]:
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    lines = [line.partition("#")[0].rstrip() for line in text.splitlines()]
    lines = [line for line in lines if line]
    change = st.tuples(
        st.integers(0, len(lines) - 1),
        st.sampled_from(["value", "key", "drop", "twice", "line", "indent"]),
        st.one_of(st.sampled_from(STRANGE), st.text(max_size=8)),
    )

    def changed(changes: list[tuple[int, str, str]]) -> bytes:
        new: list[str] = list(lines)
        for number, what, strange in changes:
            key, colon, value = lines[number].partition(":")
            new[number] = {
                "value": f"{key}{colon} {strange}", "key": f"{strange}{colon}{value}", "drop": "",
                "twice": f"{lines[number]}\n{lines[number]}", "line": strange,
                "indent": f" {lines[number]}",
            }[what]  # fmt: skip
        return "\n".join(new).encode("utf-8", "surrogatepass")

    several = st.lists(change, min_size=1, max_size=4).map(changed)
    whole = st.sampled_from(STRANGE).map(lambda strange: strange.encode())
    broken = st.builds(spoilt, st.just(text.encode()), EDITS, CUT, st.binary(max_size=8))
    return st.one_of(several, several, whole, broken, st.binary(max_size=60))


@contextmanager
def _parameters(folder: Path) -> Opened:
    def use(data: bytes) -> None:
        with suppress(PipelineError):
            params.load(folder / INPUT)

    yield use


FILES = [
    # Of 64 million pixels, the most that is decoded, several copies in several modes.
    Target("images", _image_files, _decoding, megabytes=1500),
    Target("archives", _zips, _archives),
    Target("tables", _csvs, _tables),
    Target("parameters", _yamls, _parameters, share=0.2),
]
