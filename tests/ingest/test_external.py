"""Data sets that the models are scored on and never trained on."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deepfake.common.errors import PipelineError
from deepfake.common.labels import SPLITS
from deepfake.data import shards
from deepfake.data.images import decode
from deepfake.ingest import external
from deepfake.ingest.near_duplicates import hashes_file, perceptual_hash
from deepfake.metadata.table import read_metadata, write_metadata
from deepfake.params import ExternalParams
from tests.support.making import encoded, image_file, noise, run, settings, split_files, write

TRAINING = split_files()


@pytest.fixture
def trained(tmp_path: Path) -> external.Trained:
    """What `ingest` and `metadata` wrote of `TRAINING`."""
    run(settings(write(tmp_path / "source", TRAINING)), tmp_path / "images")
    for split in SPLITS:
        table = tmp_path / "metadata" / f"{split}.csv"
        write_metadata(table, shards.image_files(tmp_path / "images", split))
    return external.Trained.read(tmp_path / "images", tmp_path / "metadata")


def fresh(per_class: int = 4) -> dict[str, bytes]:
    names = [f"{kind}/{number}.png" for kind in ("real", "fake") for number in range(per_class)]
    return {name: image_file(5000 + number) for number, name in enumerate(names)}


def packed(
    tmp_path: Path, files: dict[str, bytes], trained: external.Trained, **changes: Any
) -> dict[str, Any]:
    of_data = {key: changes.pop(key) for key in list(changes) if key == "max_bad_fraction"}
    path = str(write(tmp_path / "celeb", files))
    chosen = ExternalParams(name="celeb", path=path, **changes)
    data = settings(**of_data)
    with external.opened(chosen, data) as source:
        return external.pack(source, chosen, data, 1, trained, tmp_path / "packed")


def test_a_table_labels_the_images(tmp_path: Path, trained: external.Trained) -> None:
    files = {f"{number}.png": image_file(5000 + number) for number in range(4)}
    rows = "".join(f"{number},{('real', 'fake')[number % 3 == 0]}\n" for number in range(4))
    table = {
        "file": "t.csv", "path_column": "name", "label_column": "kind", "split_column": None,
    }  # fmt: skip
    found = packed(tmp_path, files | {"t.csv": f"name,kind\n{rows}".encode()}, trained, csv=table)
    assert found["counts"] == {"real": 2, "fake": 2}


def test_every_image_is_packed_as_test_with_its_metadata(
    tmp_path: Path, trained: external.Trained
) -> None:
    files = fresh()
    found = packed(tmp_path, files, trained)
    assert found["counts"] == {"real": 4, "fake": 4}
    assert found["trained_on"] == {"copies": 0, "near": 0, "examples": []}
    images = list(shards.image_files(tmp_path / "packed", "test"))
    assert {item.path: item.data for item in images} == files
    assert {(item.split, item.source) for item in images} == {("test", "celeb")}
    table = read_metadata(tmp_path / "packed" / "metadata.csv")
    assert table["image_id"].tolist() == [item.image_id for item in images]


def test_splits_of_its_own_do_not_matter(tmp_path: Path, trained: external.Trained) -> None:
    files = {f"train/{path}": data for path, data in fresh().items()}
    files |= {"valid/real/x.png": image_file(6000), "valid/fake/x.png": image_file(6001)}
    assert packed(tmp_path, files, trained)["counts"] == {"real": 5, "fake": 5}


def test_one_class_and_other_names_will_do(tmp_path: Path, trained: external.Trained) -> None:
    files = {f"natural/{number}.png": image_file(5000 + number) for number in range(3)}
    found = packed(tmp_path, files, trained, real=["natural"], fake=["made"])
    assert found["counts"] == {"real": 3, "fake": 0}


def test_the_limit_draws_of_each_class(tmp_path: Path, trained: external.Trained) -> None:
    found = packed(tmp_path, fresh(), trained, limit_per_class=3)
    assert found["counts"] == {"real": 3, "fake": 3}
    assert found["left_out"] == {"over limit_per_class": 2}


def test_images_of_train_or_valid_are_counted_and_those_of_test_are_not(
    tmp_path: Path, trained: external.Trained
) -> None:
    files = {
        **fresh(),
        "real/train.png": TRAINING["train/real/0.png"],
        "fake/valid.png": TRAINING["valid/fake/1.png"],
        "fake/test.png": TRAINING["test/fake/1.png"],
    }
    found = packed(tmp_path, files, trained)["trained_on"]
    assert (found["copies"], found["near"]) == (2, 0)
    assert set(found["examples"]) == {"real/train.png", "fake/valid.png"}


def test_near_duplicates_of_training_are_counted(tmp_path: Path) -> None:
    image = noise(7, 256, 256)
    hashes = perceptual_hash(decode(encoded(image.resize((200, 200)), "PNG")))[np.newaxis]
    trained = external.Trained(frozenset(), hashes)
    files = {**fresh(), "real/near.png": encoded(image.resize((190, 190)), "PNG")}
    found = packed(tmp_path, files, trained)["trained_on"]
    assert found == {"copies": 0, "near": 1, "examples": ["real/near.png"]}


def test_a_set_of_mostly_training_images_is_refused_by_name(
    tmp_path: Path, trained: external.Trained
) -> None:
    copies = {f"real/c{n}.png": TRAINING[f"train/real/{n}.png"] for n in range(3)}
    files = {**copies, "fake/1.png": image_file(7000), "fake/2.png": image_file(7001)}
    with pytest.raises(PipelineError, match=r"external, celeb: 3 of 5 images are images of train"):
        packed(tmp_path, files, trained)


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"readme.txt": b"nothing"}, "celeb: no images found in"),
        ({"real/1.png": b"no image"}, "celeb: no image in it can be used"),
        ({"pretty/1.png": image_file(1)}, "celeb: .*no class for 1 of 1 images"),
    ],
)
def test_a_set_without_images_is_refused_by_name(
    tmp_path: Path, trained: external.Trained, files: dict[str, bytes], told: str
) -> None:
    with pytest.raises(PipelineError, match=f"evaluate.external, {told}"):
        packed(tmp_path, files, trained, max_bad_fraction=1.0)


def test_a_set_that_is_not_there_is_refused_by_name() -> None:
    chosen = ExternalParams(name="celeb", path="nowhere")
    told = "celeb: no such directory or zip: nowhere"
    with pytest.raises(PipelineError, match=told), external.opened(chosen, settings()):
        pass


def test_hashes_of_images_that_were_dropped_are_not_written(tmp_path: Path) -> None:
    image = noise(7, 256, 256)
    files = split_files()
    for at, side in (("train/real/n.png", 200), ("test/real/n.png", 190)):
        files[at] = encoded(image.resize((side, side)), "PNG")
    for drop in (False, True):
        root = write(tmp_path / "source", files)
        report = run(settings(root, drop_from_train=drop), tmp_path / "images")
        hashes = np.load(hashes_file(tmp_path / "images", "train"))
        assert len(hashes) == sum(report["counts"]["train"].values()) == 9 - drop
