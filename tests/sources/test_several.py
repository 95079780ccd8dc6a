"""Several folders and zips as one source."""

from pathlib import Path

import pytest

from deepfake.common.errors import PipelineError
from deepfake.common.labels import SPLITS
from deepfake.data import shards
from deepfake.ingest.planning import make_plan
from deepfake.params import source_name
from deepfake.sources import open_source
from tests.support.making import (
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


def unsplit(first: int, per_class: int = 5) -> dict[str, bytes]:
    """Distinct images in class folders, without splits."""
    names = [f"{kind}/{n}.png" for kind in ("real", "fake") for n in range(per_class)]
    return {name: image_file(first + number) for number, name in enumerate(names)}


def two(tmp_path: Path, second: dict[str, bytes] | None = None) -> list[str]:
    """A folder with splits, and a zip without."""
    first = write(tmp_path / "split", split_files())
    return [str(first), str(zipped(tmp_path / "drawn.zip", second or unsplit(1000)))]


@pytest.mark.parametrize(
    ("path", "name"),
    [("a/faces.zip", "faces"), ("a/v1.2", "v1.2"), ("a/faces/", "faces"), ("X.ZIP", "X")],
)
def test_a_source_is_named_by_its_path(path: str, name: str) -> None:
    assert source_name(path) == name


def test_each_image_keeps_its_bytes_and_gets_the_name_of_its_source(tmp_path: Path) -> None:
    report = run(settings(two(tmp_path)), tmp_path / "images")
    written = packed(tmp_path / "images")
    expected = {f"split/{path}": data for path, data in split_files().items()}
    expected |= {f"drawn/{path}": data for path, data in unsplit(1000).items()}
    assert {path: item.data for path, item in written.items()} == expected
    assert all(path.startswith(f"{item.source}/") for path, item in written.items())
    assert report["source"]["name"] == "split, drawn"
    assert [one["sha256"] is None for one in report["source"]["sources"]] == [True, False]


def test_one_path_stays_as_it_was_whether_in_a_list_or_not(tmp_path: Path) -> None:
    root = write(tmp_path / "split", split_files())
    for name, path in (("alone", root), ("listed", [str(root)])):
        run(settings(path), tmp_path / name)
    alone = packed(tmp_path / "alone")
    assert alone == packed(tmp_path / "listed")
    assert set(alone) == set(split_files())
    assert {item.source for item in alone.values()} == {"split"}


def test_each_source_keeps_its_splits_or_has_its_own_drawn(tmp_path: Path) -> None:
    run(settings(two(tmp_path)), tmp_path / "images")
    for path, item in packed(tmp_path / "images").items():
        if item.source == "split":
            assert item.split == path.split("/")[1]
    drawn = [
        sum(source == "drawn" for _, source in shards.origins(tmp_path / "images", split).values())
        for split in SPLITS
    ]
    assert drawn == [6, 2, 2]


def test_the_limit_is_of_each_source(tmp_path: Path) -> None:
    report = run(settings(two(tmp_path), limit_per_class=3), tmp_path / "images")
    sources = [item.source for item in packed(tmp_path / "images").values()]
    assert {name: sources.count(name) for name in set(sources)} == {"split": 6, "drawn": 6}
    assert report["left_out"]["over data.limit_per_class"] == 24 + 10 - 12


@pytest.mark.parametrize("zip_both", [False, True])
def test_a_copy_in_another_source_stays_in_the_more_important_split(
    tmp_path: Path, zip_both: bool
) -> None:
    copied = {f"train/{kind}/{n}.png": image_file(n + 50) for kind, n in (("real", 1), ("fake", 2))}
    copied["train/real/copy.png"] = split_files()["test/real/0.png"]
    second = zipped(tmp_path / "second.zip", {**copied, **_elsewhere()})
    first = write(tmp_path / "split", split_files())
    if zip_both:
        first = zipped(tmp_path / "split.zip", split_files())
    report = run(settings([str(first), str(second)]), tmp_path / "images")
    assert report["duplicates"]["dropped"]["train"] == 1
    written = packed(tmp_path / "images")
    assert "split/test/real/0.png" in written
    assert "second/train/real/copy.png" not in written


def _elsewhere() -> dict[str, bytes]:
    names = [f"{split}/{kind}/0.png" for split in ("valid", "test") for kind in ("real", "fake")]
    return {name: image_file(2000 + number) for number, name in enumerate(names)}


def test_a_near_duplicate_in_another_source_is_found(tmp_path: Path) -> None:
    image = noise(7, 256, 256)
    first = write(
        tmp_path / "split",
        {**split_files(), "test/real/n.jpg": encoded(image.resize((200, 200)), "PNG")},
    )
    second = {**_elsewhere(), "train/fake/1.png": image_file(60)}
    second["train/real/n.png"] = encoded(image.resize((190, 190)), "PNG")
    paths = [str(first), str(write(tmp_path / "second", second))]
    near = run(settings(paths), tmp_path / "images")["near_duplicates"]
    found = {(pair["path"], pair["like_path"]) for pair in near["pairs"]}
    assert ("second/train/real/n.png", "split/test/real/n.jpg") in found


def test_a_path_that_is_not_there_is_refused_by_name(tmp_path: Path) -> None:
    paths = [*two(tmp_path), str(tmp_path / "nothing")]
    with pytest.raises(PipelineError, match=r"no such directory or zip: .*nothing"):
        open_source(settings(paths), 1)


def test_the_plan_is_the_same_in_any_order_of_the_paths(tmp_path: Path) -> None:
    paths = two(tmp_path)
    plans = []
    for order in (paths, paths[::-1]):
        with open_source(settings(order), 1) as source:
            plans.append(make_plan(source, settings(order), 1).placed)
    assert plans[0] == plans[1]
