"""What the inspection says about a folder or zip before anything runs."""

import io
import re
import shlex
from pathlib import Path

import pandas as pd
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from PIL import Image

from deepfake.common.errors import PipelineError
from deepfake.ingest import inspection, inspection_page
from deepfake.params import DataParams
from deepfake.sources.portraits.render import render
from tests.support.making import (
    content,
    encoded,
    image_file,
    noise,
    run,
    settings,
    split_files,
    write,
    zipped,
)

SHARED = Path(__file__).resolve().parents[3] / "shared"
needs_shared = pytest.mark.skipif(
    not (SHARED / "data").is_dir(), reason=f"the test data in {SHARED} is not on this machine"
)


def page(path: Path, params: DataParams | None = None) -> dict[str, list[str]]:
    """The lines of the page, by the words in its margin."""
    params = params or settings()
    lines: dict[str, list[str]] = {}
    name = ""
    for line in inspection_page.text(inspection.inspect(str(path), params, 1), params).splitlines():
        name = line[:11].strip() or name
        lines.setdefault(name, []).append(line[12:])
    return lines


def overrides(page: dict[str, list[str]]) -> dict[str, str]:
    """The parameters of the command that is recommended, as DVC reads them."""
    words = shlex.split(page["use"][0])
    assert words[:4] == ["dvc", "exp", "run", "-n"]
    parsed = OverridesParser.create().parse_overrides([w for w in words[5:] if w != "-S"])
    return {item.key_or_group: str(item.value()) for item in parsed}


def test_class_folders_in_split_folders(tmp_path: Path) -> None:
    path = zipped(tmp_path / "my faces.zip", {**split_files(), "notes.txt": b"x"})
    found = page(path)
    assert found["source"] == [f"{path}: 25 files, 0.0 MB"]
    assert found["layout"] == ["class folders in split folders"]
    assert found["labels"] == ["fake = 1: folder fake", "real = 0: folder real"]
    assert [line.split() for line in found["counts"]] == [
        [split, "4", "real", "4", "fake"] for split in ("train", "valid", "test")
    ]
    assert found["left out"] == ["1 not an image by its name"]
    assert found["sizes"][:2] == ["PNG RGB 24", "1 sizes in pixels: 24 x 24 (24)"]
    assert found["unusable"] == ["none"]
    assert overrides(found) == {"data.source": "folder", "data.folder.path": str(path)}
    assert "-n my-faces " in found["use"][0]


def test_nothing_is_written(tmp_path: Path) -> None:
    root = write(tmp_path / "source", split_files())
    before = content(tmp_path)
    page(root)
    assert content(tmp_path) == before


def test_no_splits(tmp_path: Path) -> None:
    files = {f"{('real', 'AI')[n % 2]}/{n}.png": image_file(n) for n in range(40)}
    found = page(write(tmp_path / "source", files), settings(fake=["fake", "ai"]))
    assert found["layout"] == ["class folders, no splits"]
    assert found["labels"] == ["fake = 1: folder AI", "real = 0: folder real"]
    assert [line.split() for line in found["counts"]] == [
        ["train", "12", "real", "12", "fake", "(drawn)"],
        ["valid", "4", "real", "4", "fake", "(drawn)"],
        ["test", "4", "real", "4", "fake", "(drawn)"],
    ]


def test_a_table_is_found_where_folders_tell_nothing(tmp_path: Path) -> None:
    rows = [f"face {n},{('real', 'fake')[n % 2]},{n % 2}" for n in range(20)]
    files = {f"all/face {n}.png": image_file(n) for n in range(20)}
    files["all/my table.csv"] = "\n".join(["images_id,what,number", *rows]).encode()
    root = write(tmp_path / "source", files)
    found = page(root)
    assert found["layout"] == ["the table all/my table.csv, no splits"]
    assert found["labels"] == ["fake = 1: `what` fake", "real = 0: `what` real"]
    assert overrides(found) == {
        "data.source": "folder",
        "data.folder.path": str(root),
        "data.folder.csv.file": "all/my table.csv",
        "data.folder.csv.path_column": "images_id",
        "data.folder.csv.label_column": "what",
    }


def test_what_a_tables_numbers_mean_is_told_by_the_folders(tmp_path: Path) -> None:
    files = split_files()
    rows = [f"{name},{int('real' in name)}" for name in files]
    files["t.csv"] = "\n".join(["path,label", *rows]).encode()
    found = page(write(tmp_path / "source", files))
    assert found["table"] == ["t.csv: 24 rows, images by `path`; `label`: 0 = fake, 1 = real"]


def test_nothing_is_printed_that_a_terminal_would_obey(tmp_path: Path) -> None:
    labels = "\x1b[2Jno", "yes"
    rows = [f"train/{n}.png,{labels[n % 2]},x" for n in range(8)]
    files = {f"train/{n}.png": image_file(n) for n in range(8)}
    files["t.csv"] = "\n".join(["path,label,\x1b]0;title", *rows]).encode()
    files["evil\u202e/more.png"] = image_file(9)
    params = settings()
    found = inspection.inspect(str(write(tmp_path / "d", files)), params, 1)
    text = inspection_page.text(found, params)
    assert "`label`: \\x1b[2Jno = ?, yes = ?" in text
    assert all(line.isprintable() for line in text.splitlines())


def test_columns_that_are_there_twice_are_no_labels(tmp_path: Path) -> None:
    rows = [f"{n}.png,{('real', 'fake')[n % 2]},{n}" for n in range(24)]
    files = {f"{n}.png": image_file(n) for n in range(24)}
    files["t.csv"] = "\n".join(["path,label,label", *rows]).encode()
    assert page(write(tmp_path / "d", files))["table"] == ["t.csv: 24 rows, images by `path`"]


def test_what_is_not_recognised_is_described(tmp_path: Path) -> None:
    files = {f"train/{('natural', 'synth')[n % 2]}/{n}.png": image_file(n) for n in range(6)}
    found = page(write(tmp_path / "source", {**files, "t.csv": b"a,b\nx,y\n"}))
    assert found["layout"] == [
        "not recognised; folders with images below them: train (6), natural (3), synth (3)"
    ]
    assert found["table"] == ["t.csv: 1 rows; no column names images"]
    assert "no class for 6 of 6 images" in found["fault"][0]
    assert "data.folder.real" in found["use"][0]


def test_what_ingest_would_refuse_is_told(tmp_path: Path) -> None:
    files = {name: data for name, data in split_files().items() if "valid" not in name}
    found = page(write(tmp_path / "source", files))
    assert "no real images in valid" in found["fault"][0]
    assert len(found["counts"]) == 2
    assert found["use"][0].startswith("no command yet, because it would be refused: add images to")


def test_too_few_images_for_drawn_splits_are_told_how_many_it_takes(tmp_path: Path) -> None:
    files = {f"{('real', 'fake')[n % 2]}/{n}.png": image_file(n) for n in range(6)}
    params = settings(valid_fraction=0.15, test_fraction=0.15)
    found = page(write(tmp_path / "source", files), params)
    assert "no real images in valid" in found["fault"][0]
    (advice,) = found["use"]
    assert "dvc exp run" not in advice
    assert "at least 4 usable images of each class" in advice
    write(tmp_path / "source", {"real/6.png": image_file(6), "fake/7.png": image_file(7)})
    assert "fault" not in page(tmp_path / "source", params)
    run(settings(tmp_path / "source", valid_fraction=0.15, test_fraction=0.15), tmp_path / "images")


def test_a_limit_that_empties_a_split_is_named(tmp_path: Path) -> None:
    files = {f"{('real', 'fake')[n % 2]}/{n}.png": image_file(n) for n in range(20)}
    found = page(write(tmp_path / "source", files), settings(limit_per_class=2))
    assert "or raise the limit of 2 images of each class" in found["use"][0]


def test_no_images_at_all(tmp_path: Path) -> None:
    found = page(write(tmp_path / "source", {"notes.txt": b"x"}))
    assert found["use"] == [
        "put the images into one folder for each class, such as real/ and fake/"
    ]


def test_a_class_that_only_unusable_files_fill_is_told(tmp_path: Path) -> None:
    files = split_files()
    files |= {name: b"no image" for name in files if name.startswith("valid/real/")}
    found = page(write(tmp_path / "source", files))
    assert found["unusable"][0].startswith("4 not an image: valid/real/0.png")
    assert [line.split()[1:4:2] for line in found["counts"]] == [["4", "4"], ["0", "4"], ["4", "4"]]
    assert list(found).index("counts") > list(found).index("unusable")
    assert found["fault"][0].startswith("after unusable images were taken out: no real images in")
    assert found["use"][0].startswith("no command yet")


def test_near_duplicates_stay_where_train_would_be_empty_without_them(tmp_path: Path) -> None:
    files = {name: data for name, data in split_files().items() if "train/real" not in name}
    face = Image.open(io.BytesIO(render(label=0, seed=1, index=0, size=192, strength=1.0)))
    files["test/real/face.png"] = encoded(face, "PNG")
    files["train/real/half.png"] = encoded(face.resize((96, 96)), "PNG")
    root = write(tmp_path / "source", files)
    advised = overrides(page(root))
    assert "data.near_duplicates.drop_from_train" not in advised
    report = run(settings(root), tmp_path / "images")
    assert report["counts"]["train"]["real"] == 1
    found = page(root, settings(drop_from_train=True))
    assert "no real images in train" in found["fault"][0]


def test_few_files_do_not_tell_the_classes_apart(tmp_path: Path) -> None:
    files = split_files(33)
    files |= {name: data + b"a trailer" for name, data in files.items() if "fake" in name}
    (line,) = page(write(tmp_path / "source", files))["metadata"]
    assert line.startswith("99 real and 99 fake files are too few to say")


def test_what_is_wrong_becomes_parameters(tmp_path: Path) -> None:
    files = split_files()
    face = Image.open(io.BytesIO(render(label=0, seed=1, index=0, size=192, strength=1.0)))
    files["train/real/empty.png"] = b""
    files["test/real/face.png"] = encoded(face, "PNG")
    files["train/real/half.png"] = encoded(face.resize((96, 96)), "PNG")
    files["train/real/copy.png"] = files["test/real/0.png"]
    files |= {f"train/real/more{n}.png": image_file(500 + n) for n in range(40)}
    root = write(tmp_path / "source", files)
    found = page(root)
    assert found["unusable"] == ["1 empty file: train/real/empty.png"]
    assert found["duplicates"][0].startswith("exact: 2 files in 1 groups; 1 left out")
    assert found["duplicates"][1] == "near, across splits: 1 in train, 0 in valid"
    assert "train/real/half.png like test/real/face.png" in found["duplicates"][2]
    advised = overrides(found)
    assert advised["data.near_duplicates.drop_from_train"] == "True"
    assert advised["train.class_weight"] == advised["baseline.class_weight"] == "balanced"
    limit = float(advised["data.max_bad_fraction"])
    report = run(settings(root, max_bad_fraction=limit, drop_from_train=True), tmp_path / "images")
    assert report["bad"]["count"] == 1
    assert report["near_duplicates"]["dropped"] == 1


def test_what_files_give_away(tmp_path: Path) -> None:
    files = {}
    for name in split_files(34):
        number, fake = len(files), "fake" in name
        image = noise(number, 24, 24)
        files[name] = encoded(image, "JPEG" if fake else "PNG", **({"quality": 90} if fake else {}))
    found = page(write(tmp_path / "source", files))
    assert "1.000 format=JPEG" in {line.strip() for line in found["metadata"]}
    assert found["metadata"][-1].strip().startswith("Files tell the classes apart")


def test_differences_are_ordered_and_say_in_which_direction() -> None:
    facts = pd.DataFrame(
        {
            "label": [0, 0, 0, 1, 1, 1],
            "width": [9] * 6,
            "height": [9] * 6,
            "bytes": [3, 4, 5, 1, 2, 4],
            "bits_per_pixel": [1, 2, 3, 1, 2, 3],
            "jpeg_quality": [None, None, None, 90, 80, 70],
            "format": ["PNG"] * 3 + ["JPEG"] * 3,
            "mode": ["RGB"] * 6,
            "subsampling": ["none"] * 6,
            "progressive": [False] * 6,
            "has_exif": [False] * 6,
            "has_icc": [False] * 6,
        }
    )
    found = dict(inspection.differences(facts))
    assert found == pytest.approx(
        {"format=JPEG": 1.0, "format=PNG": 0.0, "bytes": 1.5 / 9, "bits_per_pixel": 0.5}
    )
    assert list(found)[-1] == "bits_per_pixel"


@pytest.mark.parametrize(
    "value",
    ["a b", "it's", 'say "x"', "a,b=c", "[1]", "ümlaut", "back\\slash", 'b\\"', "end\\",
     "2024", "1e5", "1_000", ".5", "null", "True", "NaN", "../faces.zip"],
)  # fmt: skip
def test_overrides_arrive_as_they_were_meant(value: str) -> None:
    words = shlex.split(inspection_page._override("data.folder.path", value))
    (parsed,) = OverridesParser.create().parse_overrides(words[1:])
    assert parsed.value() == value


def table_of(labels: list[str], file: str = "labels.csv") -> dict[str, bytes]:
    """Thirty images, and a table that gives them these labels, again and again."""
    names = [f"all/{number}.png" for number in range(30)]
    rows = [f"{name},{labels[number % len(labels)]}" for number, name in enumerate(names)]
    return {
        **{name: image_file(number) for number, name in enumerate(names)},
        file: "\n".join(["path,label", *rows]).encode(),
    }


@pytest.mark.parametrize(
    ("labels", "file"),
    [
        (["real", "fake", "ai"], "labels.csv"),
        (["real", "Fake", "fake"], "labels.csv"),
        (["real", "fake"], "labels.txt"),
    ],
)
def test_a_table_that_is_given_may_have_more_than_two_labels(
    tmp_path: Path, labels: list[str], file: str
) -> None:
    write(tmp_path / "source", table_of(labels, file))
    params = settings(tmp_path / "source", file=file, fake=["fake", "ai"])
    found = page(tmp_path / "source", params)
    assert found["labels"] == [f"by `label` of {file}"]
    assert overrides(found)["data.folder.csv.file"] == file


def test_labels_whose_meaning_is_unknown_can_be_used_with_the_printed_command(
    tmp_path: Path,
) -> None:
    write(tmp_path / "source", table_of(["0", "1"]))
    found = page(tmp_path / "source")
    assert found["use"][0] == "if 1 means fake (else change the two):"
    advised = overrides({"use": found["use"][1:]})
    assert advised["data.folder.real"] == "['0']"
    assert advised["data.folder.fake"] == "['1']"
    assert advised["data.folder.csv.label_column"] == "label"


def test_a_table_of_another_data_set_is_not_needed(tmp_path: Path) -> None:
    write(tmp_path / "source", split_files())
    params = settings(tmp_path / "source", file="other.csv")
    found = page(tmp_path / "source", params)
    assert found["layout"] == ["class folders in split folders"]
    assert overrides(found)["data.folder.csv.file"] == "None"
    write(tmp_path / "table", table_of(["real", "fake"]))
    params = settings(tmp_path / "table", file="other.csv", split_column="split")
    assert overrides(page(tmp_path / "table", params))["data.folder.csv.split_column"] == "None"


def test_a_fault_of_the_table_that_is_given_is_told(tmp_path: Path) -> None:
    files = {
        **split_files(),
        "labels.csv": b"path,label\ntrain/real/0.png,real\nnowhere.png,fake\n",
    }
    params = settings(write(tmp_path / "source", files), file="labels.csv")
    found = page(tmp_path / "source", params)
    assert any("'nowhere.png' names an image that is not there" in line for line in found["fault"])


@pytest.mark.parametrize("labels", [["", "x"], ["a", "b", "c"], ["fake", "genuine"]])
def test_labels_that_cannot_be_used_get_no_command(tmp_path: Path, labels: list[str]) -> None:
    found = page(write(tmp_path / "source", table_of(labels)))
    assert found["use"][0].startswith("name the classes: ")


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match="no such directory or zip"):
        page(tmp_path / "nothing")


@needs_shared
def test_140k_mini_is_recognised() -> None:
    found = page(SHARED / "data/140k-mini.zip", settings(limit_per_class=60))
    assert found["layout"][0].endswith("as Kaggle's xhlulu/140k-real-and-fake-faces")
    assert len(found["table"]) == 3
    assert all("images by `path`; `label`: 0 = fake, 1 = real" in line for line in found["table"])
    assert re.match(r"JPEG RGB 1\d\d", found["sizes"][0])


@needs_shared
def test_hard_fakes_is_recognised() -> None:
    found = page(SHARED / "data/hard-fakes.zip", settings(limit_per_class=60))
    assert found["layout"] == ["class folders, no splits"]
    assert found["table"][0].startswith("data.csv: 1,289 rows, images by `images_id`; `label`")
