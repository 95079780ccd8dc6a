"""Shards: images come back in order, reading streams, and equal images give equal bytes."""

import io
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from deepfake.common.errors import PipelineError
from deepfake.data import shards
from deepfake.data.shards import ImageFile, ShardWriter


def image_files(split: str, number: int, size: int = 1000) -> list[ImageFile]:
    rng = np.random.default_rng(len(split))
    return [
        ImageFile(f"{split}{i:04}", i % 2, split, f"{split}/{i}.jpg", rng.bytes(size), f"s{i % 3}")
        for i in range(number)
    ]


def write(directory: Path, items: list[ImageFile], megabytes: float = 256) -> None:
    with ShardWriter(directory, megabytes) as writer:
        for item in items:
            writer.write(item)


def test_images_come_back_in_order(tmp_path: Path) -> None:
    train, test = image_files("train", 600), image_files("test", 3)
    write(tmp_path, train + test)
    assert list(shards.image_files(tmp_path, "train")) == train
    assert list(shards.image_files(tmp_path, "test")) == test
    assert shards.count(tmp_path, "train") == 600
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "test-00000.parquet",
        "train-00000.parquet",
    ]


def test_paths_and_sources_are_read_without_the_images(tmp_path: Path) -> None:
    train = image_files("train", 600)
    write(tmp_path, train, megabytes=0.3)
    expected = {item.image_id: (item.path, item.source) for item in train}
    assert len(list(tmp_path.iterdir())) > 1
    assert shards.origins(tmp_path, "train") == expected
    assert list(shards.origins(tmp_path, "train")) == list(expected)


def test_row_groups_are_small_and_number_the_split_through(tmp_path: Path) -> None:
    items = image_files("train", 600)
    write(tmp_path, items, megabytes=0.3)
    groups = shards.row_groups(tmp_path, "train")
    assert [group.rows for group in groups] == [256, 256, 88]
    assert [group.start for group in groups] == [0, 256, 512]
    assert [image_file for group in groups for image_file in shards.read(group)] == items
    assert shards.read(groups[1])[0] == items[256]


def test_row_groups_are_limited_in_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "GROUP_BYTES", 10_000)
    write(tmp_path, image_files("train", 25))
    assert [group.rows for group in shards.row_groups(tmp_path, "train")] == [10, 10, 5]


def test_a_new_shard_begins_before_one_is_too_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "GROUP_BYTES", 20_000)
    items = image_files("train", 200)
    write(tmp_path, items, megabytes=0.1)
    written = shards.shards(tmp_path, "train")
    assert [path.name for path in written] == [f"train-{i:05}.parquet" for i in range(2)]
    assert [pq.read_metadata(path).num_rows for path in written] == [100, 100]
    assert list(shards.image_files(tmp_path, "train")) == items


def test_the_same_images_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write(tmp_path / name, image_files("train", 300))
        time.sleep(0.01)
    one, two = (tmp_path / name / "train-00000.parquet" for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()


def test_other_readers_find_the_columns_of_the_convention(tmp_path: Path) -> None:
    items = image_files("valid", 5)
    write(tmp_path, items)
    table = pq.read_table(tmp_path / "valid-00000.parquet")
    assert table.schema.names == ["image", "image_id", "label", "split", "source"]
    assert str(table.schema.field("image").type) == "struct<bytes: binary, path: string>"
    assert str(table.schema.field("label").type) == "int8"
    assert table["image"][3].as_py() == {"bytes": items[3].data, "path": "valid/3.jpg"}


def test_images_are_stored_as_they_are_and_not_copied_to_the_footer(tmp_path: Path) -> None:
    items = image_files("train", 20, size=3_000)
    write(tmp_path, items)
    path = tmp_path / "train-00000.parquet"
    content = path.read_bytes()
    assert all(item.data in content for item in items)
    assert pq.read_metadata(path).serialized_size < 2_500
    assert len(content) < 20 * 3_000 + 5_000


def test_a_failure_leaves_no_shard_that_looks_whole(tmp_path: Path) -> None:
    def fail() -> None:
        with ShardWriter(tmp_path, 256) as writer:
            for item in image_files("train", 600):
                writer.write(item)
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_a_missing_split_is_named(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match=r"no valid images.*valid-00000\.parquet"):
        shards.count(tmp_path, "valid")


def test_decoded_pairs_images_with_their_pixels() -> None:
    items = []
    for number in range(20):
        file = io.BytesIO()
        Image.new("RGB", (4 + number, 3), (number, 0, 0)).save(file, "PNG")
        items.append(ImageFile(str(number), 0, "train", f"{number}.png", file.getvalue()))
    pairs = list(shards.decoded(items, workers=3, ahead=5))
    assert [image_file for image_file, _ in pairs] == items
    assert all(pixels.shape == (3, 4 + i, 3) for i, (_, pixels) in enumerate(pairs))
    assert all((pixels[:, :, 0] == i).all() for i, (_, pixels) in enumerate(pairs))
    with pytest.raises(PipelineError, match=r"image x of train.*damaged"):
        list(shards.decoded([ImageFile("0", 0, "train", "x", b"")]))
