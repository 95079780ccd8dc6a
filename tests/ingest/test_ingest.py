"""From a source to shards: splits, duplicates, limits, order, and images that cannot be used."""

import io
import json
import shutil
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from deepfake.common.errors import PipelineError
from deepfake.common.labels import FAKE, REAL, SPLITS
from deepfake.data import shards
from deepfake.ingest import planning, summary
from deepfake.ingest.duplicates import BOTH_LABELS, identical
from deepfake.ingest.planning import (
    image_id,
    in_writing_order,
    limited,
    make_plan,
    shares,
)
from deepfake.params import DataParams, validate
from deepfake.sources import open_source
from deepfake.sources.base import Entry
from deepfake.sources.portraits.render import render
from tests.support.making import (
    content,
    encoded,
    image_file,
    noise,
    packed,
    run,
    settings,
    split_files,
    write,
    zipped,
)

ROOT = Path(__file__).resolve().parent.parent.parent
SHARED = ROOT.parent / "shared"


def face(number: int) -> bytes:
    return render(label=REAL, seed=1, index=number, size=192, strength=1.0)


def plan(params: DataParams, seed: int = 1) -> list[Entry]:
    with open_source(params, seed) as source:
        return make_plan(source, params, seed).placed


def test_every_image_arrives_with_its_bytes_label_and_split(tmp_path: Path) -> None:
    files = split_files()
    root = write(tmp_path / "source", files)
    report = run(settings(root), tmp_path / "images")
    found = packed(tmp_path / "images")
    assert {path: item.data for path, item in found.items()} == files
    for path, item in found.items():
        split, name, _ = path.split("/")
        assert (item.split, item.label) == (split, {"real": REAL, "fake": FAKE}[name])
    assert report == json.loads((tmp_path / "images" / "report.json").read_text())
    assert report["counts"] == {split: {"real": 4, "fake": 4} for split in SPLITS}
    assert report["bad"] == {"count": 0, "fraction": 0.0, "reasons": {}, "files": []}


def test_what_a_killed_run_has_left_does_not_take_the_room_of_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = tmp_path / ".partial-images" / "train-00000.parquet"
    left.parent.mkdir()
    left.write_bytes(bytes(200_000))
    usage = shutil.disk_usage(tmp_path)

    def disk(_: Path) -> object:  # of 201 kB
        return usage._replace(free=201_000 - 200_000 * left.exists())

    monkeypatch.setattr(shutil, "disk_usage", disk)
    run(settings(write(tmp_path / "source", split_files())), tmp_path / "images")
    assert not left.exists()


@pytest.mark.parametrize(("rejected", "checked"), [(29, 100), (57, 200), (63, 180), (1, 3)])
def test_as_many_bad_images_as_the_limit_says_are_allowed(rejected: int, checked: int) -> None:
    assert not summary.too_many(rejected, checked, rejected / checked)
    assert summary.too_many(rejected + 1, checked, rejected / checked)


@pytest.mark.parametrize(
    "changes", [{"limit_per_class": 2}, {"valid_fraction": 0.0}, {"test_fraction": 0.01}]
)
def test_a_class_that_would_be_empty_is_found_without_reading_an_image(
    tmp_path: Path, changes: dict[str, float]
) -> None:
    files = {f"{kind}/{n}.png": b"" for kind in ("real", "fake") for n in range(9)}
    params = settings(write(tmp_path / "source", files), **changes)
    with open_source(params, 1) as source, pytest.raises(PipelineError, match="in the source: no"):
        planning.check_offer(source.offer(), params, 1)


def test_image_ids_are_unique_stable_and_do_not_tell_the_label(tmp_path: Path) -> None:
    root = write(tmp_path / "source", split_files())
    run(settings(root), tmp_path / "images")
    found = packed(tmp_path / "images").values()
    assert len({item.image_id for item in found}) == 24
    assert all(item.image_id == image_id(item.path) for item in found)
    assert image_id("train/real/0.png") == "64448b0ccad17acc"
    assert all(set(item.image_id) <= set("0123456789abcdef") for item in found)


def test_two_runs_give_the_same_bytes(tmp_path: Path) -> None:
    files = {f"{('real', 'fake')[n % 2]}/{n}.png": image_file(n) for n in range(40)}
    root = write(tmp_path / "source", files)
    for name in ("one", "two"):
        run(settings(root), tmp_path / name)
    assert content(tmp_path / "one") == content(tmp_path / "two")
    run(settings(root), tmp_path / "three", seed=2)
    assert content(tmp_path / "one") != content(tmp_path / "three")


def test_any_slice_of_a_split_holds_both_classes(tmp_path: Path) -> None:
    entries = [Entry(f"real/{i:02}", REAL, "train") for i in range(30)]
    entries += [Entry(f"fake/{i:02}", FAKE, "train") for i in range(10)]
    ordered = in_writing_order(reversed(entries))
    labels = [item.label for item in ordered]
    assert all(sum(labels[start : start + 8]) == 2 for start in range(0, 40, 4) if start <= 32)
    for label in (REAL, FAKE):
        paths = [item.path for item in ordered if item.label == label]
        assert paths == sorted(paths)


def test_splits_are_drawn_where_there_are_none(tmp_path: Path) -> None:
    files = {f"real/{n}.png": b"r%03d" % n for n in range(50)}
    files |= {f"fake/{n}.png": b"f%03d" % n for n in range(30)}
    root = write(tmp_path / "source", files)
    placed = plan(settings(root, valid_fraction=0.1, test_fraction=0.3))
    assert Counter((item.split, item.label) for item in placed) == {
        ("train", REAL): 30, ("valid", REAL): 5, ("test", REAL): 15,
        ("train", FAKE): 18, ("valid", FAKE): 3, ("test", FAKE): 9,
    }  # fmt: skip
    assert placed == plan(settings(root, valid_fraction=0.1, test_fraction=0.3))
    assert placed != plan(settings(root, valid_fraction=0.1, test_fraction=0.3), seed=2)


def test_identical_files_are_drawn_into_the_same_split(tmp_path: Path) -> None:
    # Ten images of each class, each there five times.
    files = {f"real/{n}.png": b"real %d" % (n % 10) for n in range(50)}
    files |= {f"fake/{n}.png": b"fake %d" % (n % 10) for n in range(50)}
    placed = plan(settings(write(tmp_path / "source", files)))
    splits: dict[bytes, set[str]] = {}
    for item in placed:
        splits.setdefault(files[item.path], set()).add(item.split)
    assert len(placed) == 100
    assert all(len(of_one) == 1 for of_one in splits.values())


def test_a_copy_in_another_split_is_dropped(tmp_path: Path) -> None:
    files = split_files()
    files["train/real/copy_of_test.png"] = files["test/real/0.png"]
    files["valid/real/copy_of_test.png"] = files["test/real/0.png"]
    files["train/fake/copy_of_valid.png"] = files["valid/fake/0.png"]
    files["train/fake/copy_of_train.png"] = files["train/fake/0.png"]
    root = write(tmp_path / "source", files)
    report = run(settings(root), tmp_path / "images")
    found = packed(tmp_path / "images")
    gone = {"train/real/copy_of_test.png", "valid/real/copy_of_test.png"}
    gone.add("train/fake/copy_of_valid.png")
    assert set(files) - set(found) == gone
    assert report["duplicates"] == {
        "groups": 3,
        "files": 7,
        "dropped": {"train": 2, "valid": 1, "test": 0},
        "under_both_labels": 0,
    }


def test_the_same_image_under_both_labels_is_rejected(tmp_path: Path) -> None:
    files = split_files()
    files["test/real/both.png"] = files["test/fake/0.png"]
    root = write(tmp_path / "source", files)
    report = run(settings(root, max_bad_fraction=0.1), tmp_path / "images")
    both = {"test/real/both.png", "test/fake/0.png"}
    assert set(files) - set(packed(tmp_path / "images")) == both
    assert report["bad"]["reasons"] == {BOTH_LABELS: 2}
    assert report["bad"]["fraction"] == pytest.approx(2 / 25, abs=1e-6)


def test_only_files_that_may_be_the_same_are_read_for_it(tmp_path: Path) -> None:
    files = {f"train/real/{n}.png": b"x" * (n + 1) for n in range(9)}
    root = write(tmp_path / "source", {**files, "train/fake/a.png": b"yyy"})
    read: list[str] = []
    lock = threading.Lock()
    with open_source(settings(root), 1) as source:
        original = source.read

        def counting(entry: Entry) -> bytes:
            with lock:
                read.append(entry.path)
            return original(entry)

        source.read = counting  # type: ignore[method-assign]
        assert identical(source, source.offer().entries) == []
    assert sorted(read) == ["train/fake/a.png", "train/real/2.png"]


@pytest.mark.parametrize(
    ("total", "sizes", "expected"),
    [
        (10, [70, 15, 15], [7, 2, 1]),
        (200, [70, 15, 15], [70, 15, 15]),
        (3, [1000, 5, 5], [1, 1, 1]),
        (2, [1000, 5, 5], [2, 0, 0]),
        (5, [4, 4], [3, 2]),
        (0, [4, 4], [0, 0]),
    ],
)
def test_shares(total: int, sizes: list[int], expected: list[int]) -> None:
    assert shares(total, sizes) == expected


def test_shares_add_up_and_never_exceed() -> None:
    rng = np.random.default_rng(3)
    for _ in range(500):
        sizes = rng.integers(1, 30, 3).tolist()
        total = int(rng.integers(0, 100))
        found = shares(total, sizes)
        assert sum(found) == min(total, sum(sizes))
        assert all(0 <= share <= size for share, size in zip(found, sizes, strict=True))


def test_limit_per_class(tmp_path: Path) -> None:
    root = write(tmp_path / "source", split_files(20))
    report = run(settings(root, limit_per_class=12), tmp_path / "images")
    assert report["counts"] == {split: {"real": 4, "fake": 4} for split in SPLITS}
    assert report["left_out"]["over data.limit_per_class"] == 120 - 24


def test_the_limited_choice_does_not_depend_on_the_order_of_listing() -> None:
    entries = [Entry(f"{i:03}", i % 2, "train") for i in range(100)]
    one = limited(entries, 10, seed=5)
    other = limited(entries[::-1], 10, seed=5)
    assert one == other[::-1]
    assert Counter(entry.label for entry in one) == {REAL: 10, FAKE: 10}
    assert one != limited(entries, 10, seed=6)
    assert one != [*entries[:20]]


def test_bad_images_are_listed_with_their_reasons(tmp_path: Path) -> None:
    files = split_files(10)
    files["train/real/empty.png"] = b""
    files["train/fake/empty.png"] = b""
    files["test/real/page.jpg"] = b"<html></html>"
    root = write(tmp_path / "source", files)
    report = run(settings(root, max_bad_fraction=0.05), tmp_path / "images")
    assert report["checked"] == 63
    assert report["bad"] == {
        "count": 3,
        "fraction": pytest.approx(3 / 63, abs=1e-6),
        "reasons": {"empty file": 2, "not an image": 1},
        "files": [
            {"path": "test/real/page.jpg", "reason": "not an image"},
            {"path": "train/fake/empty.png", "reason": "empty file"},
            {"path": "train/real/empty.png", "reason": "empty file"},
        ],
    }
    assert len(packed(tmp_path / "images")) == 60


def test_too_many_bad_images_stop_and_leave_what_was_there(tmp_path: Path) -> None:
    files = split_files(10)
    root = write(tmp_path / "source", files)
    images = tmp_path / "images"
    run(settings(root), images)
    before = content(images)
    write(root, {"test/real/0.png": files["test/real/0.png"][:500]})
    message = r"1 of 60 .*0\.01667.*allows 0\.01.*truncated: 1.*test/real/0\.png: truncated"
    with pytest.raises(PipelineError, match=f"(?s){message}"):
        run(settings(root, max_bad_fraction=0.01), images)
    assert content(images) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images", "source"]


def test_what_was_there_is_replaced_as_a_whole(tmp_path: Path) -> None:
    images = write(tmp_path / "images", {"train-00007.parquet": b"of another data set"})
    run(settings(write(tmp_path / "source", split_files())), images)
    assert sorted(content(images)) == [
        "report.json", "test-00000.parquet", "test-hashes.npy", "train-00000.parquet",
        "train-hashes.npy", "valid-00000.parquet", "valid-hashes.npy",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("without", "message"),
    [
        ("valid/", "no real images in valid; no fake images in valid"),
        ("test/fake/", "no fake images in test .found: train 4 real and 4 fake"),
    ],
)
def test_a_missing_split_or_class_is_named(tmp_path: Path, without: str, message: str) -> None:
    files = {path: data for path, data in split_files().items() if not path.startswith(without)}
    with pytest.raises(PipelineError, match=message):
        run(settings(write(tmp_path / "source", files)), tmp_path / "images")


def test_a_class_of_which_nothing_is_usable_is_named(tmp_path: Path) -> None:
    files = split_files(1)
    files["valid/fake/0.png"] = b"nothing"
    with pytest.raises(PipelineError, match=r"unusable images.*no fake images in valid"):
        run(settings(write(tmp_path / "source", files), max_bad_fraction=1.0), tmp_path / "images")


def test_near_duplicates_are_dropped_from_train(tmp_path: Path) -> None:
    faces = [Image.open(io.BytesIO(face(number))) for number in range(3)]
    files = split_files(300) | {
        f"test/real/face{n}.png": encoded(image, "PNG") for n, image in enumerate(faces)
    }
    near = {
        f"train/fake/near{n}.png": encoded(image.resize((96, 96)), "PNG")
        for n, image in enumerate(faces)
    }
    params = settings(
        write(tmp_path / "source", files | near), drop_from_train=True, shard_megabytes=1
    )
    report = run(params, tmp_path / "images")
    found = packed(tmp_path / "images")
    assert {path: item.data for path, item in found.items()} == files
    written = sorted(path.name for path in (tmp_path / "images").glob("*.parquet"))
    assert written == ["test-00000.parquet", "test-00001.parquet",
                       "train-00000.parquet", "train-00001.parquet",
                       "valid-00000.parquet", "valid-00001.parquet"]  # fmt: skip
    assert report["near_duplicates"] | {"pairs": None} == {
        "max_distance": 12, "train": 3, "valid": 0, "other_label": 3, "dropped": 3, "pairs": None,
    }  # fmt: skip
    assert report["counts"]["train"] == {"real": 300, "fake": 300}
    pair = report["near_duplicates"]["pairs"][0]
    assert (pair["split"], pair["label"]) == ("train", "fake")
    assert (pair["like_split"], pair["like_label"]) == ("test", "real")
    assert pair["path"][-5] == pair["like_path"][-5]


def test_near_duplicates_within_a_split_are_nobodys_business(tmp_path: Path) -> None:
    image = Image.open(io.BytesIO(face(0)))
    files = split_files() | {"train/real/a.png": encoded(image, "PNG")}
    files["train/real/b.png"] = encoded(image.resize((96, 96)), "PNG")
    report = run(settings(write(tmp_path / "source", files)), tmp_path / "images")
    assert report["near_duplicates"]["pairs"] == report["warnings"] == []


def test_what_a_killed_run_had_moved_away_comes_back(tmp_path: Path) -> None:
    images = tmp_path / "images"
    run(settings(write(tmp_path / "source", split_files())), images)
    before = content(images)
    images.rename(tmp_path / ".former-images")
    bad = write(tmp_path / "bad", split_files() | {"train/real/0.png": b""})
    with pytest.raises(PipelineError, match="cannot be used"):
        run(settings(bad), images)
    assert content(images) == before
    assert not (tmp_path / ".former-images").exists()


def with_default_parameters(**changes: Any) -> DataParams:
    """The project's own parameters for data, but for a few by their dotted names."""
    values = yaml.safe_load((ROOT / "params.yaml").read_text())
    for name, value in changes.items():
        *sections, key = name.split("__")
        section = values["data"]
        for part in sections:
            section = section[part]
        assert key in section
        section[key] = value
    return validate(values).data


def test_the_layout_of_manjilkarki_by_parameters_alone(tmp_path: Path) -> None:
    counts = {"Train": 3, "Validation": 2, "Test": 1}
    names = [
        f"Dataset/{split}/{name}/{name.lower()}_{number}.jpg"
        for split, count in counts.items()
        for name in ("Fake", "Real")
        for number in range(count)
    ]
    files = {name: encoded(noise(n), "JPEG") for n, name in enumerate(names)}
    path = zipped(tmp_path / "archive.zip", files)
    params = with_default_parameters(source="folder", folder__path=str(path))
    report = run(params, tmp_path / "images")
    assert report["counts"] == {
        split: {"real": n, "fake": n} for split, n in zip(SPLITS, (3, 2, 1), strict=True)
    }
    labels = {item.path: item.label for item in packed(tmp_path / "images").values()}
    assert labels == {name: FAKE if "/Fake/" in name else REAL for name in names}


@pytest.mark.skipif(
    not (SHARED / "data").is_dir(), reason=f"the test data in {SHARED} is not on this machine"
)
@pytest.mark.parametrize("table", [None, "data.csv"])
def test_hard_fakes_by_parameters_alone(tmp_path: Path, table: str | None) -> None:
    params = with_default_parameters(
        source="folder", folder__path=str(SHARED / "data/hard-fakes.zip"), folder__csv__file=table,
        folder__csv__path_column="images_id",
    )  # fmt: skip
    report = run(params, tmp_path / "images")
    assert report["counts"] == {
        "train": {"real": 413, "fake": 490},
        "valid": {"real": 88, "fake": 105},
        "test": {"real": 88, "fake": 105},
    }
    assert report["bad"]["count"] == 0
    assert all((item.label == FAKE) == item.path.startswith("fake/")
               for item in packed(tmp_path / "images").values())  # fmt: skip


@pytest.mark.skipif(
    not (SHARED / "data").is_dir(), reason=f"the test data in {SHARED} is not on this machine"
)
def test_140k_mini(tmp_path: Path) -> None:
    report = run(settings(SHARED / "data" / "140k-mini.zip"), tmp_path / "images")
    assert report["counts"] == {
        "train": {"real": 700, "fake": 700},
        "valid": {"real": 150, "fake": 150},
        "test": {"real": 150, "fake": 150},
    }
    assert report["bad"]["count"] == 0
    assert report["duplicates"]["groups"] == 0
    first = shards.read(shards.row_groups(tmp_path / "images", "test")[0])
    assert {item.label == FAKE for item in first if "/fake/" in item.path} == {True}
    assert 100 < sum(item.label for item in first) < 156
