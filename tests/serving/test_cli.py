"""The command `deepfake`, run as a user runs it: rows, exit statuses, streams."""

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from deepfake.common.errors import PipelineError
from deepfake.serving import commands
from deepfake.serving.detector import Detector, NamedImage
from deepfake.serving.predicting import Overlays
from tests.conftest import ROOT
from tests.support.faults.cases import REFUSED
from tests.support.faults.images import IMAGES
from tests.support.making import image_file, write, zipped
from tests.support.serving import faces

SECONDS = 60  # enough for anything here on a busy machine


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "deepfake.serving.cli", *arguments]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "100"}


def run(*arguments: str, **options) -> subprocess.CompletedProcess:
    options = {"capture_output": True, "text": True, "encoding": "utf-8", **options}
    return subprocess.run(command(*arguments), env=environment(), timeout=SECONDS, **options)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The current folder: three portraits, a bad image, and a zip of both in `faces`."""
    monkeypatch.chdir(tmp_path)
    paths = faces(Path("faces"), 3)
    Path("faces/cut.jpg").write_bytes(paths[0].read_bytes()[:900])
    zipped(Path("faces.zip"), {path.name: path.read_bytes() for path in paths})
    return tmp_path


# --- Without a detector


def test_help_is_quick():
    code = (
        "import sys; from deepfake.serving import cli; "
        "print([name for name in ('numpy', 'PIL', 'openvino') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


def test_help_names_the_exit_statuses():
    done = run("predict", "--help")
    assert done.returncode == 0
    assert "  3    some files were refused; their rows say why" in done.stdout
    assert "--explain DIR" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["predict"], 2, "Error: Missing argument 'PATH...'."),
        (["predict", "faces", "--formt", "csv"], 2, "Error: No such option"),
        (["predict", "gone.jpg"], 1, "error: there is no file or folder gone.jpg; "),
        (["predict", "empty"], 1, "error: no images found in empty: "),
        (["predict", "a.png", "--output", "a.xlsx"], 1, "error: the output is a file that ends in"),
        (["predict", "a.png", "--output", "a.png", "--format", "csv"], 1, "error: the output is a"),
        (["predict", "a.png", "--report", "a.png"], 1, "error: a report is an .html or a .pdf "),
        (["predict", "a.png", "--explain", "full"], 1, "error: full is not an empty folder; "),
        (["predict", "a.png"], 1, "error: data/detector has no detector.json, so it is not an "),
        (["model", "--model", "empty"], 1, "error: empty has no detector.json, so it is not an "),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_one_line(tmp_path, arguments, status, message):
    write(tmp_path, {"a.png": image_file(0), "full/a.txt": b""})
    (tmp_path / "empty").mkdir()
    before = sorted(tmp_path.rglob("*"))
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == status
    assert done.stderr.splitlines()[-1].startswith(message)
    if status == 1:
        assert len(done.stderr.splitlines()) == 1
    assert "Traceback" not in done.stderr
    assert sorted(tmp_path.rglob("*")) == before


def test_inspect(tmp_path):
    write(tmp_path, {"a.png": image_file(0), "b.png": b"no image"})
    done = run("inspect", "a.png", "b.png", cwd=tmp_path)
    assert done.returncode == 3
    assert "a.png\n  format               PNG, RGB\n" in done.stdout
    assert "b.png\n  refused              not an image\n" in done.stdout
    done = run("inspect", "--format", "json", "a.png", "b.png", cwd=tmp_path)
    first, second = map(json.loads, done.stdout.splitlines())
    assert (first["name"], first["width"], first["c2pa"]) == ("a.png", 24, None)
    assert second == {"name": "b.png", "refused": "not an image"}


# --- With one


@pytest.mark.slow
def test_rows_of_files_folders_zips_and_patterns(here, exported, detector):
    done = run(
        "predict", "faces/face-2.jpg", "faces.zip", "faces", "faces/*-1.jpg", "--format", "csv",
        "--model", str(exported),
    )  # fmt: skip
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert done.returncode == 3
    assert [row["name"] for row in rows] == [
        "faces/face-2.jpg", "faces.zip/face-0.jpg", "faces.zip/face-1.jpg", "faces.zip/face-2.jpg",
        "faces/cut.jpg", "faces/face-0.jpg", "faces/face-1.jpg",
    ]  # fmt: skip
    assert rows[4] == {"name": "faces/cut.jpg", "score": "", "verdict": "", "reason": "truncated"}
    for row in rows[:4] + rows[5:]:
        expected = detector.predict("faces/" + row["name"].split("/")[1])[0]
        assert float(row["score"]) == pytest.approx(expected.score, abs=1e-5)
        assert row["verdict"] == expected.verdict
    assert done.stderr.splitlines()[-1].startswith("7 images: ")
    assert done.stderr.splitlines()[-1].endswith(", 1 refused")


@pytest.mark.slow
def test_every_fault_of_an_image_has_its_row(tmp_path, exported):
    for number, case in enumerate(IMAGES):
        write(tmp_path, {f"f/{number:02}.jpg": case.make()})
    before = sorted(tmp_path.rglob("*"))
    done = run("predict", "f", "--format", "json", "--model", str(exported), cwd=tmp_path)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 3
    assert [row["reason"] for row in rows] == [
        case.says if case.outcome == REFUSED else None for case in IMAGES
    ]
    assert [row["score"] is None for row in rows] == [case.outcome == REFUSED for case in IMAGES]
    assert len(done.stderr.splitlines()) == 1  # the counts
    done = run("inspect", "f", "--format", "json", cwd=tmp_path)
    assert [json.loads(line)["name"] for line in done.stdout.splitlines()] == [
        row["name"] for row in rows
    ]
    assert (done.returncode, done.stderr) == (3, "")
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.slow
def test_formats_say_the_same(here, exported):
    files = [Path("rows.txt"), Path("rows.csv"), Path("rows.jsonl")]
    for file in files:
        assert predicted(["faces"], exported, file) == 3
    text, commas, objects = (file.read_text(encoding="utf-8").splitlines() for file in files)
    table = [line.split(maxsplit=2) for line in text]
    assert table[0] == ["score", "verdict", "image"]
    assert table[1] == ["-", "refused", "faces/cut.jpg: truncated"]
    rows = csv.DictReader(commas)
    for row, line, one in zip(rows, table[1:], map(json.loads, objects), strict=True):
        assert (row["name"], row["verdict"] or None) == (one["name"], one["verdict"])
        if one["score"] is not None:
            assert float(row["score"]) == one["score"] == pytest.approx(float(line[0]), abs=1e-4)
            assert line[1:] == [one["verdict"], one["name"]]


def predicted(paths: list[str], exported: Path, output: Path, explain: Path | None = None) -> int:
    return commands.predict(paths, str(exported), None, output, explain, None, 1, False)


@pytest.mark.slow
def test_standard_input_with_output_and_report(here, exported, detector):
    data = Path("faces/face-0.jpg").read_bytes()
    done = run(
        "predict", "-", "--output", "out/rows.json", "--report", "out/r.html", "--model",
        str(exported), input=data, text=False, encoding=None,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, b"")
    row = json.loads(Path("out/rows.json").read_text())
    assert row["name"] == "standard input"
    assert row["score"] == pytest.approx(detector.predict(data)[0].score, abs=1e-5)
    assert Path("out/r.html").read_text().count("<img ") == 1
    assert sorted(path.name for path in Path("out").iterdir()) == ["r.html", "rows.json"]


@pytest.mark.slow
@pytest.mark.parametrize("given", ["faces", "faces.zip", "faces.parquet", "link.zip"])
def test_what_is_to_be_scored_is_not_overwritten(here, exported, given):
    files = [path.read_bytes() for path in sorted(Path("faces").iterdir())]
    pq.write_table(pa.table({"image": files}), "faces.parquet")
    Path("link.zip").symlink_to("faces.zip")
    target = Path({"faces": "faces/cut.jpg", "link.zip": "faces.zip"}.get(given, given))
    before = target.read_bytes()
    output = Path("out") / "rows.csv"
    output.parent.mkdir()
    output.symlink_to(target.absolute())
    with pytest.raises(PipelineError, match=r"rows.csv holds images to be scored: name another"):
        predicted([given], exported, output)
    assert target.read_bytes() == before


@pytest.mark.slow
def test_names_are_escaped(here, exported):
    name = "=x\x1b[2J\n中.jpg"
    Path(name).write_bytes(Path("faces/face-0.jpg").read_bytes())
    for output in (Path("rows.csv"), Path("rows.txt")):
        predicted([name], exported, output)
    assert Path("rows.csv").read_text().splitlines()[1].startswith("./=x\\x1b[2J\\n中.jpg,0.")
    assert Path("rows.txt").read_text().splitlines()[1].endswith(" =x\\x1b[2J\\n中.jpg")


@pytest.mark.slow
def test_a_reader_that_leaves_ends_the_work(here, exported):
    reading, writing = os.pipe()
    os.close(reading)
    done = run("predict", "faces", "--model", str(exported), stdout=writing, capture_output=False,
               stderr=subprocess.PIPE)  # fmt: skip
    os.close(writing)
    assert done.returncode == 1
    assert done.stderr == "error: stopped: standard output was closed before the last row\n"


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signal")
def test_interrupted(here, exported):
    arguments = ("-", "--output", "out/rows.csv", "--report", "out/r.html")
    process = subprocess.Popen(
        command("predict", *arguments, "--model", str(exported)), env=environment(),
        stdin=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    end = time.monotonic() + SECONDS
    while not Path("out").exists() or len(list(Path("out").iterdir())) < 1:
        assert time.monotonic() < end
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=SECONDS)
    assert process.returncode == 130
    assert said.decode().splitlines()[-1] == "interrupted"
    assert list(Path("out").iterdir()) == []


@pytest.mark.slow
def test_model(exported):
    done = run("model", "--model", str(exported))
    assert done.returncode == 0
    assert "ROC-AUC 0.980 (0.960 to 0.990)" in done.stdout
    assert "700 real and 700 fake images of sample" in done.stdout


# --- Overlays


class Drawn:
    """An explanation whose overlay is grey."""

    def overlay(self) -> Image.Image:
        return Image.new("L", (4, 4), 128)


@pytest.mark.slow
def test_explain_draws_what_was_scored(here, exported, monkeypatch):
    monkeypatch.setattr(Detector, "explain", lambda self, image: Drawn())
    status = predicted(["faces", "faces.zip"], exported, Path("rows.txt"), Path("why"))
    assert status == 3
    found = sorted(path.relative_to("why").as_posix() for path in Path("why").rglob("*.png"))
    names = [f"face-{number}.jpg.png" for number in range(3)]
    assert found == [f"{folder}/{name}" for folder in ("faces.zip", "faces") for name in names]
    assert Path("rows.txt").read_text().splitlines()[1].endswith("faces/cut.jpg: truncated")


class Explaining:
    def explain(self, image: NamedImage) -> Drawn:
        return Drawn()


def test_overlays_stay_in_their_folder_and_overwrite_nothing(tmp_path):
    overlays = Overlays(tmp_path / "why")
    names = ["a.jpg", "../a.jpg", "/abs/a.jpg", "z.zip/../../b.png", "__/a.jpg"]
    names += ["x" * 300, "é" * 150, "z.zip/a.jpg", "z.zip/a.jpg.png/b.jpg", "c\0d.jpg"]
    for name in names:
        overlays.write(Explaining(), NamedImage(name, b""))
    files = [path for path in tmp_path.rglob("*.png") if path.is_file()]
    found = sorted(path.relative_to(tmp_path / "why").as_posix() for path in files)
    assert len(found) == len(names)
    assert found[:5] == [
        "__/a.jpg (2).png", "__/a.jpg.png", "a.jpg.png", "abs/a.jpg.png", "c\\x00d.jpg.png",
    ]  # fmt: skip
    assert "x" * 200 + ".png" in found
    assert "z.zip/a.jpg (2).png/b.jpg.png" in found
    assert [path.name for path in tmp_path.iterdir()] == ["why"]
    with pytest.raises(PipelineError, match="why is not an empty folder"):
        Overlays(tmp_path / "why")
