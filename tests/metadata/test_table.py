"""The metadata tables: what an image file says about itself, column by column."""

import hashlib
import io
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from deepfake.data.shards import ImageFile
from deepfake.metadata.table import (
    CATEGORICAL,
    COLUMNS,
    FEATURES,
    FLAGS,
    metadata_row,
    read_metadata,
    write_metadata,
)

HEADER = (
    "image_id,split,label,label_name,path,source,sha256,format,mode,width,height,bytes,bits_per_pixel,"
    "jpeg_quality,subsampling,progressive,has_exif,has_icc"
)


def png(mode: str = "L") -> bytes:
    file = io.BytesIO()
    Image.new(mode, (10, 20)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def image_files(jpeg: Callable[..., bytes]) -> list[ImageFile]:
    exif = Image.Exif()
    exif[0x010F] = "a camera"
    rich = jpeg(
        64, 40, quality=83, subsampling="4:2:2", progressive=True, exif=exif, icc_profile=b"profile"
    )
    return [
        ImageFile("007", 1, "test", "fake/a, b.jpg", rich, "faces"),
        ImageFile("b", 0, "test", "NA", jpeg(quality=95, subsampling="4:4:4"), "NA"),
        ImageFile("c", 0, "test", 'real/"c".png', png(), 'a, "b"'),
    ]


def test_the_columns_are_these_in_this_order(tmp_path: Path, image_files: list[ImageFile]) -> None:
    write_metadata(tmp_path / "test.csv", iter(image_files))
    assert (tmp_path / "test.csv").read_text().splitlines()[0] == HEADER
    assert ",".join(COLUMNS) == HEADER


def test_a_jpeg_with_everything(image_files: list[ImageFile]) -> None:
    data = image_files[0].data
    assert metadata_row(image_files[0]) == {
        "image_id": "007",
        "split": "test",
        "label": 1,
        "label_name": "fake",
        "path": "fake/a, b.jpg",
        "source": "faces",
        "sha256": hashlib.sha256(data).hexdigest(),
        "format": "JPEG",
        "mode": "RGB",
        "width": 64,
        "height": 40,
        "bytes": len(data),
        "bits_per_pixel": 8 * len(data) / (64 * 40),
        "jpeg_quality": 83,
        "subsampling": "4:2:2",
        "progressive": True,
        "has_exif": True,
        "has_icc": True,
    }


def test_a_jpeg_with_nothing(image_files: list[ImageFile]) -> None:
    row = metadata_row(image_files[1])
    assert (row["label"], row["label_name"]) == (0, "real")
    assert (row["jpeg_quality"], row["subsampling"]) == (95, "4:4:4")
    assert not any(row[name] for name in FLAGS)


def test_a_png_has_no_jpeg_quality(tmp_path: Path, image_files: list[ImageFile]) -> None:
    write_metadata(tmp_path / "test.csv", iter(image_files))
    line = (tmp_path / "test.csv").read_text().splitlines()[3]
    assert line.endswith(",,none,False,False,False")
    read = read_metadata(tmp_path / "test.csv").iloc[2]
    assert pd.isna(read["jpeg_quality"])
    assert (read["format"], read["mode"], read["subsampling"]) == ("PNG", "L", "none")


def test_a_table_comes_back_with_its_values_and_types(
    tmp_path: Path, image_files: list[ImageFile]
) -> None:
    write_metadata(tmp_path / "test.csv", iter(image_files))
    table = read_metadata(tmp_path / "test.csv")
    assert list(table) == list(COLUMNS)
    for row, image_file in zip(table.to_dict("records"), image_files, strict=True):
        expected = metadata_row(image_file)
        expected["bits_per_pixel"] = round(expected["bits_per_pixel"], 6)
        if expected["jpeg_quality"] is None:
            assert pd.isna(row.pop("jpeg_quality"))
            del expected["jpeg_quality"]
        assert row == expected
    types = {name: str(dtype) for name, dtype in table.dtypes.items()}
    assert {types[name] for name in FLAGS} == {"bool"}
    assert {types[name] for name in CATEGORICAL} == {"str"}
    assert (types["label"], types["bytes"]) == ("int8", "int64")
    assert (types["bits_per_pixel"], types["jpeg_quality"]) == ("float64", "float64")


def test_some_of_the_columns(tmp_path: Path, image_files: list[ImageFile]) -> None:
    write_metadata(tmp_path / "test.csv", iter(image_files))
    table = read_metadata(tmp_path / "test.csv", ["image_id", "has_icc"])
    assert table.to_numpy().tolist() == [["007", True], ["b", False], ["c", False]]


def test_twice_the_same_bytes(tmp_path: Path, image_files: list[ImageFile]) -> None:
    for name in ("a.csv", "b.csv"):
        write_metadata(tmp_path / name, iter(image_files))
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    assert b"\r" not in (tmp_path / "a.csv").read_bytes()


def test_chunks_do_not_show(
    tmp_path: Path, image_files: list[ImageFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = write_metadata(tmp_path / "whole.csv", iter(image_files))
    monkeypatch.setattr("deepfake.metadata.table._CHUNK", 1)
    pieces = write_metadata(tmp_path / "pieces.csv", iter(image_files))
    assert (tmp_path / "whole.csv").read_bytes() == (tmp_path / "pieces.csv").read_bytes()
    assert counts.to_dict() == pieces.to_dict()


def test_the_images_of_each_class_are_counted(tmp_path: Path, image_files: list[ImageFile]) -> None:
    counts = write_metadata(tmp_path / "a.csv", iter(image_files))
    assert counts.to_dict() == {"real": 2, "fake": 1}
    assert write_metadata(tmp_path / "b.csv", iter(image_files[:1])).to_dict() == {
        "real": 0,
        "fake": 1,
    }


def test_no_feature_identifies_the_image_or_its_label() -> None:
    assert set(FEATURES) == set(COLUMNS) - {
        "image_id", "split", "label", "label_name", "path", "source", "sha256",
    }  # fmt: skip
