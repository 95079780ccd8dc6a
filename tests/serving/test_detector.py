"""The exported detector gives the scores of the image model, and refuses what is none of its."""

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deepfake.common.errors import PipelineError
from deepfake.data.images import decode
from deepfake.models import image_model
from deepfake.serving.detector import Detector, NamedImage, Prediction
from tests.support.networks import textures
from tests.support.serving import faces

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return faces(tmp_path_factory.mktemp("faces"), 6)


def test_scores_are_those_of_the_image_model(
    detector: Detector, exported: Path, paths: list[Path]
) -> None:
    model = image_model.load(exported.parent / "image.keras")
    pixels = [decode(path.read_bytes()) for path in paths] + list(textures(3, 120, 80))
    found = [detector.score(one) for one in pixels]
    expected = [float(np.asarray(model(one[None]))[0, 0]) for one in pixels]
    assert len({round(score, 4) for score in expected}) > 4
    assert np.abs(np.array(found) - expected).max() < 1e-4


def test_an_image_has_one_score_in_whatever_form_it_comes(
    detector: Detector, paths: list[Path]
) -> None:
    data = paths[0].read_bytes()
    with Image.open(paths[0]) as opened:
        forms = [paths[0], str(paths[0]), data, NamedImage("one", data), opened, decode(data)]
        found = detector.predict(forms)
        opened.load()  # it was not closed
    assert len({one.score for one in found}) == 1
    assert [one.name for one in found] == [
        str(paths[0]), str(paths[0]), "image 3", "one", "image 5", "image 6",
    ]  # fmt: skip
    assert detector.predict(data)[0].score == found[0].score


def test_a_damaged_pillow_image_is_refused_in_its_place(
    detector: Detector, paths: list[Path], tmp_path: Path
) -> None:
    damaged = tmp_path / "damaged.jpg"
    damaged.write_bytes(paths[0].read_bytes()[:900])
    with Image.open(damaged) as opened:
        first, second = detector.predict([opened, paths[1]])
    assert str(first.reason).startswith("cannot be decoded: image file is truncated")
    assert second.score is not None


def test_a_stack_of_pixels_is_several_images(detector: Detector) -> None:
    pixels = textures(3, 70, 70)
    assert len(detector.predict(pixels)) == 3
    assert detector.predict(pixels)[1].score == detector.score(pixels[1])


def test_bad_images_are_refused_in_their_place(
    detector: Detector, paths: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "text.jpg").write_text("no image")
    whole = paths[0].read_bytes()
    given = [paths[0], tmp_path / "text.jpg", tmp_path / "none.jpg", tmp_path, b"", whole[:900]]
    found = detector.predict(given)
    assert found[0].score is not None
    assert [one.reason for one in found] == [
        None,
        "not an image",
        "cannot be read: No such file or directory",
        "not a regular file",
        "empty file",
        "truncated",
    ]
    assert all(one.score is one.verdict is None for one in found[1:])


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.zeros((8, 8, 3)), "float64 from 0 to 0"),
        (np.zeros((8, 8), "uint8"), r"of shape \(8, 8\)"),
        (np.zeros((8, 8, 4), "uint8"), r"of shape \(8, 8, 4\)"),
        (np.zeros((0, 8, 3), "uint8"), r"of shape \(0, 8, 3\)"),
    ],
)
def test_arrays_of_anything_but_pixels_are_refused(
    detector: Detector, array: np.ndarray, said: str
) -> None:
    with pytest.raises(PipelineError, match=f"expected as uint8.*{said}"):
        detector.predict(array)


def test_a_stream_of_any_length_is_read_as_it_is_scored(
    detector: Detector, paths: list[Path]
) -> None:
    read = 0

    def endless() -> Iterator[Path]:
        nonlocal read
        while True:
            read += 1
            yield paths[read % len(paths)]

    stream = detector.stream(endless())
    for _ in range(5):
        assert next(stream).score is not None
    assert read < 100


def test_verdicts_follow_the_thresholds(detector: Detector) -> None:
    verdicts = [detector.verdict(score) for score in (0.0, 0.399, 0.4, 0.599, 0.6, 1.0)]
    assert verdicts == ["real", "real", "uncertain", "uncertain", "fake", "fake"]
    assert Prediction("a", 0.1234567, "real").as_dict() == {
        "name": "a", "score": 0.123457, "verdict": "real", "reason": None,
    }  # fmt: skip


@pytest.fixture
def copied(exported: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(exported, tmp_path / "copied"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda folder: (folder / "network.bin").write_bytes(b"x"), "not the file that was exp"),
        (lambda folder: (folder / "network.xml").unlink(), "network.xml, .*No such file"),
        (lambda folder: (folder / "detector.json").unlink(), "is not an exported detector"),
        (lambda folder: (folder / "detector.json").write_text("{"), "it is not JSON"),
        (lambda folder: _edit(folder, threshold=0.9), "was changed after"),
        (lambda folder: _edit(folder, format=2), "of format 2, and this version reads format 1"),
        (lambda folder: _edit(folder, more=1), "is incomplete"),
        (shutil.rmtree, "is not an exported detector"),
    ],
)
def test_a_changed_or_incomplete_folder_is_refused(
    copied: Path, change: Callable[[Path], object], said: str
) -> None:
    change(copied)
    with pytest.raises(PipelineError, match=said):
        Detector.load(copied)


def _edit(folder: Path, **values: object) -> None:
    file = folder / "detector.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def test_it_needs_none_of_the_pipelines_packages(
    python: Callable[..., tuple[list[str], dict[str, str]]], exported: Path, paths: list[Path]
) -> None:
    code = """
import sys
from deepfake.serving.detector import Detector
found = Detector.load(sys.argv[1]).predict(sys.argv[2])
assert found[0].score is not None
heavy = {"tensorflow", "mlflow", "dvc", "pandas", "pyarrow", "sklearn", "scipy", "pydantic"}
print(sorted(heavy & {name.split(".")[0] for name in sys.modules}))
"""
    command, environment = python(code, exported, paths[0])
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stdout + done.stderr
