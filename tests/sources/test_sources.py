"""Sources: directories and zips of every layout, tables, and the drawn sample."""

import io
import os
import stat
import struct
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from deepfake.common.errors import PipelineError
from deepfake.common.labels import FAKE, REAL
from deepfake.params import DataParams, FolderParams, SampleParams
from deepfake.sources import layouts, open_source, tables
from deepfake.sources.archive import Archive
from deepfake.sources.base import Entry, Unreadable
from deepfake.sources.folder import FolderSource, open_folder
from deepfake.sources.layouts import ClassNames, Place
from deepfake.sources.portraits.render import render
from tests.support.making import LIMITS, settings, zip_bytes

SHARED = Path(__file__).resolve().parents[3] / "shared"
needs_shared = pytest.mark.skipif(
    not (SHARED / "data").is_dir(), reason=f"the test data in {SHARED} is not on this machine"
)
NAMES = ClassNames(["real", "original"], ["fake", "ai"])


def folder_params(path: Path | str, **changes: Any) -> FolderParams:
    csv = {"file": None, "path_column": "path", "label_column": "label", "split_column": None}
    values = {
        "path": str(path),
        "real": ["real", "original"],
        "fake": ["fake", "ai"],
        "valid_fraction": 0.2,
        "test_fraction": 0.2,
    }
    csv |= {key: value for key, value in changes.items() if key in csv}
    values |= {key: value for key, value in changes.items() if key in values}
    return FolderParams.model_validate({**values, "csv": csv})


def directory(root: Path, files: dict[str, bytes] | list[str]) -> Path:
    contents = files if isinstance(files, dict) else {name: name.encode() for name in files}
    for name, data in contents.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return root


def zipped(path: Path, files: dict[str, bytes] | list[str]) -> Path:
    contents = files if isinstance(files, dict) else {name: name.encode() for name in files}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in contents.items():
            archive.writestr(name, data)
    return path


def offered(params: FolderParams) -> dict[str, tuple[str | None, int]]:
    with open_folder(params, LIMITS) as source:
        return {entry.path: (entry.split, entry.label) for entry in source.offer().entries}


@pytest.mark.parametrize(
    ("path", "split", "label"),
    [
        ("real_vs_fake/real-vs-fake/train/real/1.jpg", "train", REAL),
        ("Dataset/Validation/Fake/1.jpg", "valid", FAKE),
        ("TRAINING/AI/1.jpg", "train", FAKE),
        ("val/Original/a/b/1.jpg", "valid", REAL),
        ("dev/fake/1.jpg", "valid", FAKE),
        ("fake/testing/1.jpg", "test", FAKE),
        ("fake/set/test/real/1.jpg", "test", REAL),
        ("test/old/train/fake/1.jpg", "train", FAKE),
        ("faces/training_fake/1.jpg", "train", FAKE),
        ("real/1.jpg", None, REAL),
        ("train/1.jpg", "train", None),
        ("really/unreal/real.jpg", None, None),
        ("real_or_fake/1.jpg", None, None),
    ],
)
def test_folders_tell_split_and_class(path: str, split: str | None, label: int | None) -> None:
    assert layouts.place(path, NAMES) == Place(split, label)


@pytest.mark.parametrize("kind", [directory, zipped])
def test_directory_and_zip_offer_the_same(tmp_path: Path, kind: Any) -> None:
    files = ["in/test/FAKE/b.png", "in/train/real/a.JPG", "in/valid/ai/c.webp", "in/notes.txt"]
    params = folder_params(kind(tmp_path / "data", files))
    with open_folder(params, LIMITS) as source:
        offer = source.offer()
        read = [source.read(entry) for entry in offer.entries]
    assert [(entry.path, entry.split, entry.label) for entry in offer.entries] == [
        ("in/test/FAKE/b.png", "test", FAKE),
        ("in/train/real/a.JPG", "train", REAL),
        ("in/valid/ai/c.webp", "valid", FAKE),
    ]
    assert read == [entry.path.encode() for entry in offer.entries]
    assert [source.stated(entry)[0] for entry in offer.entries] == [len(data) for data in read]
    assert offer.left_out == {"not an image by its name": 1}


def test_junk_is_passed_over(tmp_path: Path) -> None:
    junk = ["__MACOSX/real/._1.jpg", "real/.DS_Store", ".git/fake/2.jpg", "real/._1.jpg"]
    path = zipped(tmp_path / "data.zip", ["real/1.jpg", "fake/1.jpg", *junk])
    assert sorted(offered(folder_params(path))) == ["fake/1.jpg", "real/1.jpg"]


def test_relative_paths_start_at_the_users_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory(tmp_path / "repository" / "images", ["real/1.jpg", "fake/1.jpg"])
    (tmp_path / "copy").mkdir()
    monkeypatch.chdir(tmp_path / "copy")
    with pytest.raises(PipelineError, match=r"no such directory or zip: images"):
        offered(folder_params("images"))
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / "repository"))
    assert len(offered(folder_params("images"))) == 2


def test_links_to_files_and_loops_of_directories(tmp_path: Path) -> None:
    cached = f"cache/files/md5/ab/{'c0ffee' * 5}"
    directory(tmp_path, [cached])
    root = directory(tmp_path / "data", ["real/1.jpg", "fake/1.jpg"])
    (root / "fake" / "2.jpg").symlink_to(tmp_path / cached)
    (root / "real" / "again").symlink_to(root)
    assert sorted(offered(folder_params(root))) == ["fake/1.jpg", "fake/2.jpg", "real/1.jpg"]


def test_names_that_would_leave_the_folder_are_refused(tmp_path: Path) -> None:
    bad = ["../real/up.jpg", "/real/root.jpg", "real/../../up2.jpg", "C:/real/drive.jpg"]
    control = "real/line\nbreak.jpg"
    path = zipped(tmp_path / "data.zip", ["real/1.jpg", "fake/1.jpg", *bad, control])
    with open_folder(folder_params(path), LIMITS) as source:
        offer = source.offer()
    assert [entry.path for entry in offer.entries] == ["fake/1.jpg", "real/1.jpg"]
    assert {item.reason for item in offer.rejected} == {"unsafe name"}
    assert {item.path for item in offer.rejected} == {*bad, "real/line\\nbreak.jpg"}


def test_members_that_cannot_be_trusted_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "data.zip"
    link = zipfile.ZipInfo("real/link.jpg")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("real/1.jpg", "fake/1.jpg", "fake/2.jpg", "./fake/2.jpg", "real/secret.jpg"):
            archive.writestr(name, b"x")
        archive.writestr(link, "/etc/passwd")
    # The flag for encryption, in the directory of the zip.
    data = bytearray(path.read_bytes())
    entry = data.rindex(b"PK\x01\x02", 0, data.rindex(b"real/secret.jpg"))
    data[entry + 8 : entry + 10] = struct.pack("<H", 1)
    path.write_bytes(data)
    with Archive(path, LIMITS) as view:
        assert sorted(view.members) == ["fake/1.jpg", "real/1.jpg"]
        assert {(item.path, item.reason) for item in view.rejected} == {
            ("fake/2.jpg", "name used twice"),
            ("real/link.jpg", "link or special file"),
            ("real/secret.jpg", "encrypted"),
        }


def test_damage_inside_a_zip_is_told_by_member(tmp_path: Path) -> None:
    path = tmp_path / "data.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("real/1.jpg", b"first content")
        archive.writestr("fake/1.jpg", b"second content")
    path.write_bytes(path.read_bytes().replace(b"first content", b"First content"))
    with Archive(path, LIMITS) as view:
        assert view.read("fake/1.jpg") == b"second content"
        with pytest.raises(Unreadable, match="damaged in the archive"):
            view.read("real/1.jpg")


def test_a_member_that_claims_too_much_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deepfake.sources.archive.MAX_FILE_BYTES", 1000)
    path = zipped(tmp_path / "data.zip", {"real/1.jpg": b"\0" * 1001, "real/2.jpg": b"\0" * 1000})
    with Archive(path, LIMITS) as view:
        assert len(view.read("real/2.jpg")) == 1000
        with pytest.raises(Unreadable, match="file too large"):
            view.read("real/1.jpg")


def test_a_member_that_unpacks_to_more_than_it_says_takes_no_memory(tmp_path: Path) -> None:
    path, size = tmp_path / "data.zip", 200_000_000
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("real/1.jpg", b"\0" * size)
    lie = path.read_bytes().replace(struct.pack("<I", size), struct.pack("<I", 100_000))
    path.write_bytes(lie)
    with Archive(path, LIMITS) as view:
        tracemalloc.start()
        with pytest.raises(Unreadable, match="damaged in the archive"):
            view.read("real/1.jpg")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 5_000_000


def assert_refused_in_little_memory(path: Path) -> None:
    """The zip lists too many files, and is refused before its list fills the memory."""
    tracemalloc.start()
    with pytest.raises(PipelineError, match="lists more than 10,000 files"):
        Archive(path, LIMITS)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10_000_000


def test_a_list_of_files_of_any_length_is_not_read(tmp_path: Path) -> None:
    path = zipped(tmp_path / "data.zip", ["real/1.jpg"])
    # The end says that the list has 500 MB, which the file then has, in a hole.
    data = path.read_bytes()
    end = bytearray(data[data.index(b"PK\x05\x06") :])
    end[12:20] = struct.pack("<II", 500_000_000, 0)
    with open(path, "wb") as file:
        file.truncate(500_000_000)
        file.seek(0, os.SEEK_END)
        file.write(end)
    assert_refused_in_little_memory(path)


def test_a_list_of_far_too_many_files_costs_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "data.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(65_000):
            archive.writestr(zipfile.ZipInfo(f"{number}"), b"")
    assert_refused_in_little_memory(path)


def test_a_list_that_places_files_before_the_start(tmp_path: Path) -> None:
    path = zipped(tmp_path / "data.zip", ["real/1.jpg"])
    data = bytearray(path.read_bytes())
    end = data.index(b"PK\x05\x06")
    struct.pack_into("<L", data, end + 16, len(data))  # where the list is said to begin
    path.write_bytes(data)
    with pytest.raises(PipelineError, match="not a zip that can be read"):
        Archive(path, LIMITS)


def test_a_name_that_is_not_text(tmp_path: Path) -> None:
    path = zipped(tmp_path / "data.zip", ["real/\u00e9.jpg"])
    path.write_bytes(path.read_bytes().replace("\u00e9".encode(), b"\xff\xff"))
    with pytest.raises(PipelineError, match="not a zip that can be read"):
        Archive(path, LIMITS)


def test_a_directory_of_too_many_files(tmp_path: Path) -> None:
    root = directory(tmp_path / "data", [f"real/{number}.jpg" for number in range(12)])
    with pytest.raises(PipelineError, match="lists more than 10 files"):
        Archive(root, LIMITS.model_copy(update={"max_files": 10}))


def test_a_table_of_too_many_rows(tmp_path: Path) -> None:
    table = b"path,label\n" + b"1.jpg,real\n" * 11
    root = directory(tmp_path / "data", {"t.csv": table, "1.jpg": b""})
    limits = LIMITS.model_copy(update={"max_files": 10})
    source = open_folder(folder_params(root, file="t.csv"), limits)
    with source, pytest.raises(PipelineError, match=r"t\.csv has more than 10 rows"):
        source.offer()


def test_a_file_that_went_away(tmp_path: Path) -> None:
    root = directory(tmp_path / "data", ["real/1.jpg"])
    with Archive(root, LIMITS) as view:
        os.remove(root / "real" / "1.jpg")
        with pytest.raises(Unreadable, match="cannot be read from disk"):
            view.read("real/1.jpg")


def test_names_in_any_unicode_form(tmp_path: Path) -> None:
    path = zipped(tmp_path / "data.zip", ["real/Zoe\u0308.jpg", "fake/名前.jpg"])
    assert sorted(offered(folder_params(path))) == ["fake/名前.jpg", "real/Zoë.jpg"]


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04 cut"])
def test_what_is_no_zip(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "data.zip"
    path.write_bytes(content)
    with pytest.raises(PipelineError, match=f"not a zip.*{len(content)} bytes"):
        offered(folder_params(path))


def test_no_images_at_all(tmp_path: Path) -> None:
    root = directory(tmp_path / "data", ["real/1.txt", "fake/readme"])
    with pytest.raises(PipelineError, match=r"no images found in .*data: 2 files.*\.jpg"):
        offered(folder_params(root))


def test_images_without_class_are_listed(tmp_path: Path) -> None:
    root = directory(tmp_path / "data", ["real/1.jpg", "fake/1.jpg", "maybe/1.jpg", "2.jpg"])
    with pytest.raises(PipelineError, match=r"2 of 4 images: 2\.jpg, maybe/1\.jpg.*real, orig"):
        offered(folder_params(root))


def test_some_images_outside_the_splits_are_listed(tmp_path: Path) -> None:
    root = directory(tmp_path / "data", ["train/real/1.jpg", "test/fake/1.jpg", "fake/2.jpg"])
    with pytest.raises(PipelineError, match=r"1 of 3 images are in none .*: fake/2\.jpg"):
        offered(folder_params(root))


IMAGES = ["a/test/x1.jpg", "a/train/x2.jpg", "a/train/sub/X3.PNG", "b/x4.tar.jpg"]


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("a/test/x1.jpg", IMAGES[0]),
        ("test/x1.jpg", IMAGES[0]),
        ("x2.jpg", IMAGES[1]),
        ("x2", IMAGES[1]),
        ("train\\x2.JPG", IMAGES[1]),
        ("./sub/x3.png", IMAGES[2]),
        ("/a/test/x1.jpg", IMAGES[0]),
        ("x4.tar", IMAGES[3]),
    ],
)
def test_rows_name_images_in_several_ways(name: str, path: str) -> None:
    row = tables.Row(2, name, "AI", "Validation")
    assert tables.match_table([row], IMAGES, NAMES, "t.csv") == {path: Place("valid", FAKE)}


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (("est/x1.jpg", "real", None), r"line 2: 'est/x1\.jpg' names an image that is not there"),
        (("x1.png", "real", None), "names an image that is not there"),
        (("", "real", None), "names an image that is not there"),
        (("x1.jpg", "1", None), r"has the label '1'"),
        (("x1.jpg", "real", "holdout"), r"has the split 'holdout'"),
    ],
)
def test_rows_that_cannot_be_used(cells: tuple[str, str, str | None], message: str) -> None:
    with pytest.raises(PipelineError, match=message):
        tables.match_table([tables.Row(2, *cells)], IMAGES, NAMES, "t.csv")


def test_a_whole_path_comes_before_the_end_of_another() -> None:
    rows = [tables.Row(2, "1.jpg", "real", None)]
    found = tables.match_table(rows, ["1.jpg", "b/1.jpg"], NAMES, "t.csv")
    assert found == {"1.jpg": Place(None, REAL)}


def test_a_row_that_names_two_images_or_contradicts_another() -> None:
    paths = ["a/1.jpg", "b/1.jpg"]
    with pytest.raises(PipelineError, match=r"names a/1\.jpg, b/1\.jpg"):
        tables.match_table([tables.Row(2, "1.jpg", "real", None)], paths, NAMES, "t.csv")
    rows = [tables.Row(2, "a/1.jpg", "real", None), tables.Row(3, "a/1", "fake", None)]
    with pytest.raises(PipelineError, match=r"line 3: 'a/1' contradicts an earlier row"):
        tables.match_table(rows, paths, NAMES, "t.csv")


def test_a_table_labels_and_splits(tmp_path: Path) -> None:
    table = "\ufeffid,what,part\r\np1,Real,train\r\np2,AI,val\r\n\r\np3,fake,test\r\n"
    files = {"t/data.csv": table.encode(), "p/p4.jpg": b""}
    files |= {f"p/p{number}.jpg": b"" for number in (1, 2, 3)}
    params = folder_params(
        directory(tmp_path / "data", files),
        file="t/data.csv", path_column="id", label_column="what", split_column="part",
    )  # fmt: skip
    with open_folder(params, LIMITS) as source:
        offer = source.offer()
    assert [(entry.path, entry.split, entry.label) for entry in offer.entries] == [
        ("p/p1.jpg", "train", REAL),
        ("p/p2.jpg", "valid", FAKE),
        ("p/p3.jpg", "test", FAKE),
    ]
    assert offer.left_out == {"not an image by its name": 1, "not named by the table": 1}


def test_a_table_without_splits_leaves_them_to_the_folders(tmp_path: Path) -> None:
    table = b"path,label\ntrain/1.jpg,real\ntest/2.jpg,fake\n"
    root = directory(tmp_path / "d", {"t.csv": table, "train/1.jpg": b"", "test/2.jpg": b""})
    assert offered(folder_params(root, file="t.csv")) == {
        "train/1.jpg": ("train", REAL),
        "test/2.jpg": ("test", FAKE),
    }


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (b"path,class\n1.jpg,real\n", "has no column label; its columns are: path, class"),
        (b"", r"has no column path and no column label; its columns are: \(none\)"),
        (b"path,label\n", "has a header and no rows"),
        (b"path,label\n\xff\xfe,real\n", "cannot be read as a CSV"),
        (b'path,label\n"1.jpg,real\n', "cannot be read as a CSV"),
        (b"path,label\nreal/9.jpg,real\n", "1 of 1 rows cannot be used"),
    ],
)
def test_tables_that_cannot_be_used(tmp_path: Path, table: bytes, message: str) -> None:
    root = directory(tmp_path / "d", {"t.csv": table, "real/1.jpg": b""})
    with pytest.raises(PipelineError, match=message):
        offered(folder_params(root, file="t.csv"))


def test_a_table_that_is_not_there(tmp_path: Path) -> None:
    root = directory(tmp_path / "data", ["labels.csv", "1.jpg"])
    with pytest.raises(PipelineError, match=r"t\.csv is not there; tables found: labels\.csv"):
        offered(folder_params(root, file="t.csv"))


def test_a_table_that_contradicts_the_class_folders(tmp_path: Path) -> None:
    table = b"path,label\nreal/1.jpg,fake\nfake/1.jpg,real\n"
    root = directory(tmp_path / "d", {"t.csv": table, "real/1.jpg": b"", "fake/1.jpg": b""})
    with pytest.raises(PipelineError, match=r"2 of 2 rows contradict .*real/1\.jpg \(fake in"):
        offered(folder_params(root, file="t.csv"))


def test_a_folder_above_everything_that_is_named_like_a_class(tmp_path: Path) -> None:
    table = b"path,label\n1.jpg,real\n2.jpg,fake\n"
    root = directory(tmp_path / "d", {"ai/t.csv": table, "ai/1.jpg": b"", "ai/2.jpg": b""})
    labels = {
        path: label for path, (_, label) in offered(folder_params(root, file="ai/t.csv")).items()
    }
    assert labels == {"ai/1.jpg": REAL, "ai/2.jpg": FAKE}


def test_images_outside_of_such_a_folder(tmp_path: Path) -> None:
    table = b"path,label\n1.jpg,real\n2.jpg,fake\n3.jpg,real\n"
    files = {"t.csv": table, "ai/1.jpg": b"", "ai/2.jpg": b"", "3.jpg": b""}
    found = offered(folder_params(directory(tmp_path / "d", files), file="t.csv"))
    labels = {path: label for path, (_, label) in found.items()}
    assert labels == {"ai/1.jpg": REAL, "ai/2.jpg": FAKE, "3.jpg": REAL}


def data_params(source: str, folder: FolderParams) -> DataParams:
    return settings(source=source).model_copy(
        update={
            "folder": folder,
            "sample": SampleParams(
                train_per_class=2, valid_per_class=1, test_per_class=1, size=64, strength=1.0
            ),
        }
    )


def test_open_source_opens_what_the_parameters_name(tmp_path: Path) -> None:
    params = folder_params(directory(tmp_path / "data", ["real/1.jpg"]))
    with open_source(data_params("folder", params), seed=1) as source:
        assert isinstance(source, FolderSource)
        assert source.describe() == {
            "name": "folder", "version": None, "path": params.path, "sha256": None,
        }  # fmt: skip


def test_the_sample_is_drawn_in_the_layout_of_140k(tmp_path: Path) -> None:
    with open_source(data_params("sample", folder_params(tmp_path)), seed=7) as source:
        entries = source.offer().entries
        image_files = {entry.path: source.read(entry) for entry in entries}
        assert source.describe()["seed"] == 7
    assert len(entries) == len(set(image_files.values())) == 8
    root = "real_vs_fake/real-vs-fake"
    assert Entry(f"{root}/train/fake/00002.jpg", FAKE, "train", "sample") in entries
    for entry in entries:
        assert layouts.place(entry.path, NAMES) == Place(entry.split, entry.label)
        assert Image.open(io.BytesIO(image_files[entry.path])).size == (64, 64)
    first = render(label=REAL, seed=7, index=0, size=64, strength=1.0)
    assert image_files[f"{root}/train/real/00001.jpg"] == first


@needs_shared
def test_140k_mini_is_read_by_its_folders() -> None:
    places = list(offered(folder_params(SHARED / "data" / "140k-mini.zip")).values())
    for split, number in (("train", 700), ("valid", 150), ("test", 150)):
        assert places.count((split, REAL)) == places.count((split, FAKE)) == number
    assert len(places) == 2000


@needs_shared
def test_hard_fakes_by_folders_and_by_table_agree() -> None:
    path = SHARED / "data" / "hard-fakes.zip"
    by_folders = offered(folder_params(path))
    by_table = offered(folder_params(path, file="data.csv", path_column="images_id"))
    assert by_folders == by_table
    assert len(by_folders) == 1289
    assert by_folders["fake/fake_1.jpg"] == (None, FAKE)


def test_a_zip_behind_other_bytes_and_with_a_comment(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", {"real/1.jpg": b"one" * 100, "fake/1.jpg": b"two"})
    with zipfile.ZipFile(path, "a") as archive:
        archive.comment = b"PK as a remark"
    path.write_bytes(b"a program that unpacks itself" + path.read_bytes())
    with Archive(path, LIMITS) as view:
        assert {name: view.read(name) for name in view.members} == {
            "fake/1.jpg": b"two",
            "real/1.jpg": b"one" * 100,
        }


def test_more_files_than_sixteen_bits_count(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for number in range(65_540):
            archive.writestr(zipfile.ZipInfo(f"{number}"), b"")
    with Archive(tmp_path / "a.zip", LIMITS.model_copy(update={"max_files": 65_540})) as view:
        assert list(view.members) == sorted(f"{number}" for number in range(65_540))


def test_numbers_of_sixty_four_bits(tmp_path: Path) -> None:
    """As another program writes them: in the extra fields, in turn, after a field of its own."""
    path, data = tmp_path / "a.zip", zip_bytes({"1.jpg": b"one"})
    at = data.index(b"PK\x01\x02")
    end = data.index(b"PK\x05\x06")
    extra = struct.pack("<HHI", 0x5455, 4, 7) + struct.pack("<HHQQ", 1, 16, 3, 0)
    entry = bytearray(data[at:end])
    struct.pack_into("<L", entry, 24, 0xFFFFFFFF)  # the size, and where the file is
    struct.pack_into("<L", entry, 42, 0xFFFFFFFF)
    struct.pack_into("<H", entry, 30, len(extra))
    closing = bytearray(data[end:])
    struct.pack_into("<L", closing, 12, len(entry) + len(extra))
    path.write_bytes(data[:at] + entry + extra + closing)
    with Archive(path, LIMITS) as view:
        assert view.members["1.jpg"].size == 3
        assert view.read("1.jpg") == b"one"
