"""What can be wrong with a data set: layout, labels, splits, tables."""

import io
import os
from pathlib import Path

from PIL import Image

from deepfake.sources.portraits.render import render
from tests.support.faults.archives import folder
from tests.support.faults.cases import ERROR, PAGE, REFUSED, WARNING, Case
from tests.support.making import encoded, image_file, split_files, write

GOOD = split_files()
FLAT = {name.split("/", 1)[1].replace("/", f"/{name[:2]}"): data for name, data in GOOD.items()}


def table(*rows: str, header: str = "path,label") -> dict[str, bytes]:
    """Eight images outside class folders and a CSV; `rows` come after those that name them."""
    names = [f"{split}/{n}.png" for split in ("train", "valid", "test") for n in range(4)]
    lines = [header, *(f"{name},{('real', 'fake')[i % 2]}" for i, name in enumerate(names)), *rows]
    files = {name: image_file(200 + i) for i, name in enumerate(names)}
    return {**files, "t.csv": "\n".join(lines).encode()}


def near_duplicate() -> dict[str, bytes]:
    """An image of test at half its size in train, and another one of valid compressed again."""
    one, other = (
        Image.open(io.BytesIO(render(label=0, seed=1, index=i, size=192, strength=1.0)))
        for i in range(2)
    )
    return GOOD | {
        "test/real/a.png": encoded(one, "PNG"),
        "train/real/like_a.png": encoded(one.resize((96, 96)), "PNG"),
        "valid/fake/b.png": encoded(other, "PNG"),
        "train/fake/like_b.jpg": encoded(other, "JPEG", quality=40),
    }


def huge(place: Path) -> Path:
    """A file of 100 terabytes, nearly all of it a hole."""
    write(place, GOOD)
    size = 100_000_000_000_000
    while True:
        try:
            os.truncate(place / "train/real/0.png", size)
        except OSError:  # more than this file system can hold in one file
            size //= 2
        else:
            return place


def without(*parts: str) -> dict[str, bytes]:
    return {name: data for name, data in GOOD.items() if not any(part in name for part in parts)}


BY_TABLE = {"file": "t.csv"}
DATA_SETS = [
    Case("no such folder", ERROR, ("no such directory or zip",), lambda place: place / "nowhere"),
    Case("no images", ERROR, ("no images found in",), folder({"a/readme.txt": b"x"})),
    Case(
        "an empty class", ERROR, ("no fake images in train", "All three splits need both"),
        folder(without("/fake/")),
    ),
    Case(
        "one class only, no splits", ERROR, ("no real images in train", "found: train 0 real"),
        folder({name: data for name, data in FLAT.items() if name.startswith("fake")}),
    ),
    Case(
        "a split missing", ERROR, ("no real images in valid; no fake images in valid",),
        folder(without("valid/")),
    ),
    Case(
        "images outside the splits", ERROR,
        ("1 of 25 images are in none of the split folders",),
        folder(GOOD | {"real/1.png": image_file(90)}),
    ),
    Case(
        "images outside the classes", ERROR, ("no class for 1 of 25 images: train/1.png",),
        folder(GOOD | {"train/1.png": image_file(90)}),
    ),
    Case(
        "all images bad", ERROR,
        ("24 of 24 images cannot be used", "not an image: 24", "data.max_bad_fraction"),
        folder({name: PAGE + name.encode() for name in GOOD}), parameters={"max_bad_fraction": 0.9},
    ),
    Case(
        "all images of a class bad", ERROR,
        ("after unusable images were taken out", "no real images in test"),
        folder(GOOD | {name: b"x" for name in GOOD if name.startswith("test/real")}),
        parameters={"max_bad_fraction": 1.0},
    ),
    Case(
        "the table contradicts the folders", ERROR,
        ("contradict the class folders", "Check which label means fake"),
        folder(GOOD | {"t.csv": "\n".join(["path,label", *(
            f"{name},{'fake' if 'real' in name else 'real'}" for name in GOOD
        )]).encode()}),
        parameters=BY_TABLE,
    ),
    Case(
        "the table names files that are not there", ERROR,
        ("1 of 13 rows cannot be used", "line 14: 'train/x.png' names an image that is not there"),
        folder(table("train/x.png,real")), parameters=BY_TABLE,
    ),
    Case(
        "files that the table does not name", WARNING,
        ("no row names 1 of 13 images, which are left out: train/9.png",),
        folder(table() | {"train/9.png": image_file(99)}), parameters=BY_TABLE,
    ),
    Case(
        "a row twice", WARNING, ("1 of 13 rows name an image that an earlier row names as well",),
        folder(table("train/0.png,real")), parameters=BY_TABLE,
    ),
    Case(
        "rows that contradict each other", ERROR, ("'train/0.png' contradicts an earlier row",),
        folder(table("train/0.png,fake")), parameters=BY_TABLE,
    ),
    Case(
        "an id of several files", ERROR, ("'0.png' names test/0.png, train/0.png, valid/0.png",),
        folder(table("0.png,real")), parameters=BY_TABLE,
    ),
    Case(
        "an unknown label", ERROR,
        ("labels known are real: real; fake: fake", "'train/9.png' has the label '1'"),
        folder(table("train/9.png,1") | {"train/9.png": image_file(99)}), parameters=BY_TABLE,
    ),
    Case(
        "a table without the column", ERROR, ("has no column path", "its columns are: name, label"),
        folder(table(header="name,label")), parameters=BY_TABLE,
    ),
    Case(
        "a column twice", ERROR, ("has more than one column label", "Rename all but one"),
        folder(table(header="path,label,label")), parameters=BY_TABLE,
    ),
    Case(
        "control characters in the names of columns", ERROR,
        ("its columns are: \\x1b[2Jname, label",), folder(table(header="\x1b[2Jname,label")),
        "Nothing of a data set is printed that a terminal would obey.", BY_TABLE,
    ),
    Case(
        "control characters in a cell", ERROR, ("'train/\\x1b]0;x.png' names an image",),
        folder(table("train/\x1b]0;x.png,real")), parameters=BY_TABLE,
    ),
    Case(
        "200,000 columns", ERROR, ("has 200,000 columns in line 1; at most 1,000 are read",),
        folder(table(header=",".join(f"c{n}" for n in range(200_000)))), parameters=BY_TABLE,
    ),
    Case(
        "a cell of 200,000 characters", ERROR,
        ("cannot be read as a CSV", "field larger than field limit (131072)"),
        folder(table(f"{'x' * 200_000},real")), parameters=BY_TABLE,
    ),
    Case(
        "a table that is not there", ERROR, ("u.csv is not there; tables found: t.csv",),
        folder(table()), parameters={"file": "u.csv"},
    ),
    Case(
        "a table that is not text", ERROR, ("cannot be read as a CSV",),
        folder(table() | {"t.csv": b"path,label\n\xff\xfe\x00,real\n"}), parameters=BY_TABLE,
    ),
    Case(
        "the same image under both labels", REFUSED, ("same image under both labels",),
        folder(GOOD | {"test/real/both.png": GOOD["test/fake/0.png"]}), files=2,
    ),
    Case(
        "the same image in two splits", WARNING,
        ("1 images are in a more important split as well", "left out", "train/real/copy.png"),
        folder(GOOD | {"train/real/copy.png": GOOD["test/real/0.png"]}),
    ),
    Case(
        "near-duplicates across splits", WARNING,
        ("2 images of train and 0 of valid look like", "like_a.png like test/real/a.png"),
        folder(near_duplicate()), "The pairs are in `data/metadata/summary.json`.",
    ),
    Case(
        "near-duplicates across splits, `data.near_duplicates.drop_from_train`", WARNING,
        ("2 of them were dropped from train",),
        folder(near_duplicate()), parameters={"drop_from_train": True},
    ),
    Case(
        "extreme imbalance", WARNING,
        ("train has 44 real and 4 fake images", "class_weight", "balanced"),
        folder(GOOD | {f"train/real/more{n}.png": image_file(400 + n) for n in range(40)}),
    ),
    Case("no room on the disk", ERROR, ("the images need", "MB are free: make room"), huge),
]  # fmt: skip
