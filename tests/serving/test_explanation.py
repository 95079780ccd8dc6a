"""Explanations of the small detector: heat, overlay, and what is refused."""

import math
import shutil
from pathlib import Path

import numpy as np
import pytest

from deepfake.common.errors import PipelineError
from deepfake.data.images import decode
from deepfake.serving import description
from deepfake.serving.detector import Detector, NamedImage
from deepfake.serving.explanation import Explanation
from tests.support.networks import SIZE
from tests.support.serving import faces

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def face(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return faces(tmp_path_factory.mktemp("faces"), 1)[0]


@pytest.fixture(scope="module")
def explanation(detector: Detector, face: Path) -> Explanation:
    return detector.explain(face)


def test_the_heat_adds_up_to_the_score(detector: Detector, explanation: Explanation) -> None:
    assert explanation.exact
    assert explanation.base is not None
    assert explanation.heat.dtype == np.float32
    assert explanation.heat.shape == (SIZE, SIZE)
    score = 1 / (1 + math.exp(-(explanation.heat.sum() + explanation.base)))
    assert explanation.prediction.score == pytest.approx(score, abs=1e-4)


def test_an_image_is_explained_in_whatever_form_it_comes(
    detector: Detector, explanation: Explanation, face: Path
) -> None:
    for form in (
        face.read_bytes(),
        NamedImage("one", face.read_bytes()),
        decode(face.read_bytes()),
    ):
        np.testing.assert_array_equal(detector.explain(form).heat, explanation.heat)


def test_the_overlay_is_coloured_where_there_is_heat(explanation: Explanation) -> None:
    plain = np.asarray(explanation.overlay(0.0)).astype(int)
    assert (plain.max(axis=2) == plain.min(axis=2)).all()  # grey
    coloured = np.asarray(explanation.overlay(1.0)).astype(int)
    fake = np.unravel_index(explanation.heat.argmax(), explanation.heat.shape)
    real = np.unravel_index(explanation.heat.argmin(), explanation.heat.shape)
    assert coloured[fake][0] > coloured[fake][2]  # orange
    assert coloured[real][2] > coloured[real][0]  # blue


@pytest.mark.parametrize("opacity", [-0.1, 1.5, math.nan])
def test_an_opacity_out_of_range_is_refused(explanation: Explanation, opacity: float) -> None:
    with pytest.raises(PipelineError, match="from 0 to 1; received"):
        explanation.overlay(opacity)


def test_one_image_is_explained_at_a_time(detector: Detector, face: Path) -> None:
    with pytest.raises(PipelineError, match="one image is explained at a time; received several"):
        detector.explain([face, face])  # type: ignore[arg-type]


def test_a_bad_image_is_refused_with_its_reason(detector: Detector) -> None:
    with pytest.raises(PipelineError, match=r"^a\\x1bb: cannot be explained: not an image$"):
        detector.explain(NamedImage("a\x1bb", b"text"))


def test_a_detector_that_cannot_explain_says_why(
    exported: Path, face: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "detector"
    shutil.copytree(exported, folder)
    values = description.as_dict(description.read(folder))
    files = values.pop("files")
    del values["digest"]
    values["explanation"] = {"method": None, "why": "its layer odd is a Dense"}
    description.write(folder, values, files)
    with pytest.raises(PipelineError, match="cannot explain scores: its layer odd is a Dense"):
        Detector.load(folder).explain(face)


def test_a_folder_that_was_exchanged_is_refused(exported: Path, face: Path, tmp_path: Path) -> None:
    folder = tmp_path / "detector"
    shutil.copytree(exported, folder)
    loaded = Detector.load(folder)
    values = description.as_dict(description.read(folder))
    files = values.pop("files")
    del values["digest"]
    description.write(folder, {**values, "name": "another"}, files)
    with pytest.raises(PipelineError, match="another detector than the one that was loaded"):
        loaded.explain(face)
