"""What a command line names: files, folders, zips, patterns; what is refused of them, and why."""

import io
import os
import struct
import zipfile
from pathlib import Path

import pytest

from deepfake.common.errors import PipelineError
from deepfake.serving import inputs, zips
from deepfake.serving.inputs import find
from deepfake.serving.places import Refused
from tests.support.making import image_file, write, zip_bytes, zipped

IMAGE = image_file(0)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    zips._opened.cache_clear()
    return tmp_path


def names(*paths: str) -> list[str]:
    return [file.name for file in find(paths).files]


def reason(name: str, *paths: str) -> str:
    """Why the file of this name is refused, when it is listed or read."""
    (file,) = (file for file in find(paths).files if file.name == name)
    with pytest.raises(Refused) as raised:
        file.read()
    return str(raised.value)


def test_folders_are_listed_by_name_with_all_below_them():
    files = dict.fromkeys(("f/b.jpg", "f/a.PNG", "f/sub/c.webp", "f/sub/.d.png"), IMAGE)
    junk = {"f/.hidden/e.jpg": IMAGE, "f/Thumbs.db": b"", "f/readme.txt": b"", "f/x.zip": b""}
    write(Path("."), files | junk)
    found = find(["f"])
    assert [file.name for file in found.files] == ["f/a.PNG", "f/b.jpg", "f/sub/c.webp"]
    assert found.files[2].read() == IMAGE
    assert (found.others, found.example) == (2, "f/readme.txt")
    assert found.passed_over().startswith("2 other files were passed over, such as f/readme.txt")


def test_a_file_that_is_named_is_read_whatever_its_name():
    write(Path("."), {"portrait": IMAGE})
    assert find(["portrait"]).files[0].read() == IMAGE


def test_patterns_and_paths_that_name_a_file_twice():
    write(Path("."), {f"f/{n}.png": IMAGE for n in "cab"} | {"f/[x].png": IMAGE})
    assert names("f/[ab].png", "f/c.png", "f") == ["f/a.png", "f/b.png", "f/c.png", "f/[x].png"]
    assert names("f/[x].png") == ["f/[x].png"]  # a file of that name, and no pattern


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("gone.jpg", "there is no file or folder gone.jpg; give the path from "),
        ("gone/*.jpg", "no file matches gone/*.jpg"),
        ("empty", "no images found in empty: files that end in .jpg, "),
        ("texts", "no images found in texts: 1 other file was passed over, such as texts/a.txt"),
        ("a\x1b2J", "no file or folder a\\x1b2J"),
    ],
)
def test_nothing_to_do(path, message):
    Path("empty").mkdir()
    write(Path("texts"), {"a.txt": b""})
    with pytest.raises(PipelineError) as raised:
        find([path])
    assert message in str(raised.value)


def test_links_are_followed_inside_the_folder_alone():
    write(Path("."), {"f/a.png": IMAGE, "f/sub/b.png": IMAGE, "outside/secret.png": IMAGE})
    os.symlink("a.png", "f/inside.png")
    os.symlink("../outside/secret.png", "f/out.png")
    os.symlink("../outside", "f/folder")
    os.symlink("sub", "f/same")
    os.symlink("nowhere", "f/gone.png")
    assert find(["f"]).files[-1].name == "f/sub/b.png"
    assert names("f").count("f/sub/b.png") == 1
    assert find(["f/inside.png"]).files[0].read() == IMAGE
    assert reason("f/out.png", "f") == reason("f/folder", "f") == "link out of the folder"
    assert reason("f/gone.png", "f") == "cannot be read: No such file or directory"
    assert find(["f/out.png"]).files[0].read() == IMAGE  # who names a link means it


def test_pipes_and_devices_are_refused_at_once():
    Path("f").mkdir()
    os.mkfifo("f/pipe.jpg")
    assert reason("f/pipe.jpg", "f") == reason("f/pipe.jpg", "f/pipe.jpg") == "not a regular file"
    assert reason("/dev/zero", "/dev/zero") == "not a regular file"


def test_large_files_are_refused(monkeypatch):
    monkeypatch.setattr(inputs, "MOST_BYTES", 100)
    write(Path("."), {"a.png": IMAGE})
    zipped(Path("z.zip"), {"a.png": IMAGE})
    assert reason("a.png", "a.png") == reason("z.zip/a.png", "z.zip") == "larger than 200 MB"


def test_names_that_are_no_text():
    Path(os.fsdecode(b"\xff\n.png")).write_bytes(IMAGE)
    assert find(["."]).files[0].read() == IMAGE


def test_zips_are_read_member_by_member():
    files = {"b/2.png": IMAGE, "b/1.jpg": b"other", "../up.png": IMAGE, "note.txt": b""}
    zipped(Path("z.ZIP"), files | {"__MACOSX/b/._1.jpg": b"", "b/.hidden.png": b""})
    found = find(["z.ZIP"])
    assert [f.name for f in found.files] == ["z.ZIP/../up.png", "z.ZIP/b/1.jpg", "z.ZIP/b/2.png"]
    assert [f.read() for f in found.files] == [IMAGE, b"other", IMAGE]
    assert found.others == 1


def test_two_zips_in_turns():
    for name in ("a", "b"):
        zipped(Path(f"{name}.zip"), {"1.png": name.encode()})
    first, second = find(["a.zip", "b.zip"]).files
    assert [first.read(), second.read(), first.read()] == [b"a", b"b", b"a"]


def test_a_zip_in_a_zip_is_refused_by_name():
    zipped(Path("z.zip"), {"in.zip": zip_bytes({"a.png": IMAGE}), "b.png": IMAGE})
    assert names("z.zip") == ["z.zip/b.png", "z.zip/in.zip"]
    assert reason("z.zip/in.zip", "z.zip") == "a zip in a zip; unpack it and name it"


def test_members_of_one_name():
    with zipfile.ZipFile("z.zip", "w") as file:
        file.writestr("a.png", IMAGE)
        with pytest.warns(UserWarning, match="Duplicate"):
            file.writestr("a.png", b"another")
    first, second = find(["z.zip"]).files
    assert first.read() == IMAGE
    assert second.refused == "another file of the zip has this name"


def test_bombs_and_what_cannot_be_unpacked():
    with zipfile.ZipFile("z.zip", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("bomb.png", bytes(5_000_000))
        file.writestr("lzma.png", IMAGE, zipfile.ZIP_LZMA)
        link = zipfile.ZipInfo("link.png")
        link.external_attr = 0o120777 << 16
        file.writestr(link, "/etc/hostname")
    data = bytearray(zip_bytes({"locked.png": IMAGE}))
    at = data.index(b"PK\x01\x02") + 8
    data[at] |= 1
    Path("locked.zip").write_bytes(data)
    assert reason("z.zip/bomb.png", "z.zip") == "compressed too much"
    assert reason("z.zip/lzma.png", "z.zip") == "unsupported compression"
    assert reason("z.zip/link.png", "z.zip") == "link or special file"
    assert reason("locked.zip/locked.png", "locked.zip") == "encrypted"


def test_a_member_that_is_not_what_the_list_says():
    data = bytearray(zip_bytes({"a.png": IMAGE, "b.png": IMAGE}))
    data[data.index(IMAGE) + 50] ^= 1
    Path("z.zip").write_bytes(data)
    assert reason("z.zip/a.png", "z.zip").startswith("damaged in the zip: Bad CRC-32")
    assert find(["z.zip"]).files[1].read() == IMAGE


@pytest.mark.parametrize("data", [b"", b"PK", IMAGE, zip_bytes({"a.png": IMAGE})[:-30]])
def test_no_zip_is_one_file_that_is_refused(data):
    Path("z.zip").write_bytes(data)
    assert reason("z.zip", "z.zip").startswith("not a zip that can be read: ")


def test_zips_of_too_much(monkeypatch):
    data = zip_bytes({f"{n}.png": b"" for n in range(30)})
    Path("z.zip").write_bytes(data)
    monkeypatch.setattr(zips, "MOST_MEMBERS", 20)
    assert reason("z.zip", "z.zip").endswith("it lists more than 20 files")
    monkeypatch.setattr(zips, "MOST_MEMBERS", 30)
    assert len(names("z.zip")) == 30
    monkeypatch.setattr(zips, "MOST_LIST_BYTES", 1000)
    assert reason("z.zip", "z.zip").endswith("it lists more than 30 files")


def test_a_zip_that_claims_to_unpack_to_too_much():
    file = io.BytesIO(zip_bytes({"a.png": IMAGE}))
    data = bytearray(file.getvalue())
    at = data.index(b"PK\x01\x02")
    sizes = struct.pack("<II", 4_000_000_000, 4_000_000_000)
    data[at + 20 : at + 28] = sizes
    Path("z.zip").write_bytes(data)
    assert reason("z.zip/a.png", "z.zip") == "larger than 200 MB"
