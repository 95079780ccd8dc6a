"""Images in Parquet tables and in a bucket, and predictions as Parquet."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deepfake.common.errors import PipelineError
from deepfake.data import shards
from deepfake.serving import addresses, rows, tables
from deepfake.serving.detector import Prediction
from deepfake.serving.inputs import find
from deepfake.serving.places import Refused
from tests.support import s3_server
from tests.support.making import image_file, write

FILES = {name: image_file(number) for number, name in enumerate(("c.png", "a.png", "b.png"))}


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for cached in (tables._opened, tables._column, addresses.remote):
        cached.cache_clear()
    return tmp_path


def table(columns: dict, path: str = "faces.parquet") -> str:
    pq.write_table(pa.table(columns), path, row_group_size=2)
    return path


def read(path: str) -> dict[str, bytes]:
    return {file.name: file.read() for file in find([path]).files}


IMAGES = list(FILES.values())
NAMED = {f"faces.parquet/{name}": data for name, data in FILES.items()}
NUMBERED = {f"faces.parquet/row {number}": data for number, data in enumerate(IMAGES)}


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"name": list(FILES), "image": IMAGES}, NAMED),
        ({"path": list(FILES), "content": IMAGES, "length": [1, 2, 3]}, NAMED),  # Spark's
        ({"image": [{"bytes": b, "path": n} for n, b in FILES.items()]}, NAMED),  # Hugging Face's
        ({"image": [{"bytes": b, "path": None} for b in IMAGES], "label": [0, 1, 1]}, NUMBERED),
        ({"name": ["a", "a", "b"], "bytes": IMAGES}, NUMBERED),
        ({"image": pa.array(IMAGES, pa.large_binary())}, NUMBERED),
    ],
)
def test_a_row_is_an_image_by_its_name_or_number(columns, expected):
    found = read(table(columns))
    assert found == expected
    assert list(found) == list(expected)  # in the order of the rows


def test_the_shards_of_ingest_are_tables():
    images = [
        shards.ImageFile(f"{n:016x}", n % 2, "test", f"{n}.png", image_file(n)) for n in range(5)
    ]
    with shards.ShardWriter("images", 10) as writer:
        for one in images:
            writer.write(one)
    expected = {f"images/test-00000.parquet/{one.path}": one.data for one in images}
    assert read("images") == expected


def test_a_row_without_an_image_is_refused():
    first, second = find([table({"name": ["a", "b"], "image": [None, IMAGES[0]]})]).files
    with pytest.raises(Refused, match="the row has no image"):
        first.read()
    assert second.read() == IMAGES[0]


def test_two_columns_of_one_name_are_told():
    twice = pa.table([pa.array(IMAGES), pa.array(IMAGES)], ["image", "image"])
    pq.write_table(twice, "twice.parquet")
    first, *_ = find(["twice.parquet"]).files
    with pytest.raises(Refused, match="2 columns are named image"):
        first.read()
    names = [pa.array(list(FILES)), pa.array(list(FILES)), pa.array(IMAGES)]
    pq.write_table(pa.table(names, ["name", "name", "image"]), "names.parquet")
    assert "2 columns are named name" in refused("names.parquet")


def refused(path: str) -> str:
    (file,) = find([path]).files
    with pytest.raises(Refused) as error:
        file.read()
    return str(error.value)


def test_what_is_no_table_of_images_is_told(monkeypatch):
    others = {"image": ["a.png"], "bytes": [[b"list"]], "path": [["list"]], "label": [1]}
    with pytest.raises(PipelineError, match=r"no column holds the bytes .* it has image, bytes, "):
        find([table(others)])
    Path("cut.parquet").write_bytes(Path("faces.parquet").read_bytes()[:-9])
    assert refused("cut.parquet").startswith("not a Parquet table that can be read: ")
    monkeypatch.setattr(tables, "MOST_GROUP_BYTES", 100)
    large = refused(table({"image": IMAGES}, "large.parquet"))
    assert large.startswith("a row group of 0 MB is read in one piece")


def test_a_damaged_row_group_is_refused_and_the_others_are_read():
    path, plain = Path("faces.parquet"), {"compression": "none", "use_dictionary": False}
    pq.write_table(pa.table({"image": IMAGES}), path, row_group_size=2, **plain)
    data = bytearray(path.read_bytes())
    at = data.index(IMAGES[2])
    data[at - 16 : at - 4] = b"\xff" * 12  # of the header of the second row group's page
    path.write_bytes(data)
    first, _, third = find([str(path)]).files
    assert first.read() == IMAGES[0]
    with pytest.raises(Refused, match="damaged in the table: "):
        third.read()


def test_a_table_of_something_else_in_a_folder_is_passed_over():
    write(Path("mixed"), {"a.png": IMAGES[0]})
    table({"label": [1, 2]}, "mixed/labels.parquet")
    found = find(["mixed"])
    assert [file.name for file in found.files] == ["mixed/a.png"]
    assert found.passed_over().startswith("1 other file was passed over, such as mixed/labels.par")


def test_a_protocol_that_cannot_be_opened_is_one_sentence():
    with pytest.raises(PipelineError, match=r"^ftp://127\.0\.0\.1:1/faces: .*refused"):
        find(["ftp://127.0.0.1:1/faces"])


@pytest.fixture
def s3(monkeypatch, tmp_path):
    with s3_server.serving() as server:
        s3_server.use(monkeypatch, server.address, tmp_path / "no-keys-here")
        yield server


@pytest.mark.slow
def test_a_bucket_is_listed_and_read(s3):
    at = "s3://faces/new"
    s3.put({f"new/{name}": data for name, data in FILES.items()} | {"new/notes.txt": b"", "x": b""})
    assert read(at) == {f"{at}/{name}": FILES[name] for name in sorted(FILES)}
    assert read(f"{at}/a.png") == {f"{at}/a.png": FILES["a.png"]}
    assert find([at]).others == 1
    s3.put({"odd/empty.png": b"", "odd/my table.parquet": b"", "odd/b.png": FILES["b.png"]})
    last, empty, spaced = find(["s3://faces/odd"]).files
    assert (last.read(), empty.read()) == (FILES["b.png"], b"")
    with pytest.raises(Refused, match="in the address of a table"):
        spaced.read()
    with pytest.raises(PipelineError, match="no such directory or zip: s3://faces/gone"):
        find(["s3://faces/gone"])


@pytest.mark.slow
def test_a_table_in_a_bucket_is_read(s3):
    data = Path(table({"name": list(FILES), "image": IMAGES})).read_bytes()
    s3.put({"tables/faces.parquet": data})
    expected = {f"s3://faces/tables/faces.parquet/{name}": FILES[name] for name in FILES}
    assert read("s3://faces/tables/faces.parquet") == expected
    assert read("s3://faces/tables") == expected


def test_predictions_as_parquet(monkeypatch):
    monkeypatch.setattr(rows, "_GROUP_ROWS", 2)
    given = [
        Prediction("a.png", 0.123456789, "real"),
        Prediction("b\n.png", None, None, "truncated"),
        Prediction("c.png", 0.9, "fake"),
    ]
    with rows.writing(Path("scores.parquet"), "parquet") as writer:
        for one in given:
            writer.write(one)
    assert pq.read_table("scores.parquet").to_pylist() == [
        {"name": "a.png", "score": 0.123457, "verdict": "real", "reason": None},
        {"name": "b\\n.png", "score": None, "verdict": None, "reason": "truncated"},
        {"name": "c.png", "score": 0.9, "verdict": "fake", "reason": None},
    ]


def test_parquet_needs_a_file_and_a_broken_one_is_not_left():
    with pytest.raises(PipelineError, match="--output"), rows.writing(None, "parquet"):
        pass
    with pytest.raises(AttributeError), rows.writing(Path("scores.parquet"), "parquet") as writer:
        writer.write(None)
    assert list(Path(".").iterdir()) == []


def test_what_is_in_a_folder_of_tables_and_images_is_all_found():
    write(Path("mixed"), {"a.png": IMAGES[0], "readme.txt": b""})
    table({"image": IMAGES}, "mixed/b.parquet")
    assert [file.name for file in find(["mixed"]).files] == [
        "mixed/a.png",
        *(f"mixed/b.parquet/row {number}" for number in range(3)),
    ]
