"""What `make robustness` does to images and says about scores."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from benchmarks import robustness
from deepfake.common import paths
from deepfake.common.errors import PipelineError
from tests.support.making import noise
from tests.support.networks import write_shards


def test_alterations_change_images_as_they_are_named():
    image = noise(1, 40, 30)
    changed = {name: np.asarray(alter(image)) for name, alter in robustness.ALTERATIONS.items()}
    np.testing.assert_array_equal(changed["as it is"], np.asarray(image))
    assert changed["halved"].shape == (15, 20, 3)
    assert changed["blurred, sigma 0.7"].std() < 0.8 * np.asarray(image).std()
    apart = [
        np.abs(changed[f"JPEG {quality}"].astype(float) - np.asarray(image)).mean()
        for quality in (60, 50)
    ]
    assert 0 < apart[0] < apart[1]


def test_scores_are_of_the_altered_images(tmp_path):
    pixels = [np.full((8, 8, 3), value, "uint8") for value in (0, 255, 51, 204)]
    write_shards(tmp_path, pixels)

    def darker(image):
        return Image.fromarray(np.asarray(image) // 2)

    def brightness(images):
        return np.array([image.mean() / 255 for image in images])

    labels, found = robustness.scores(brightness, tmp_path, "test", darker, "darker")
    assert labels.tolist() == [0, 1, 0, 1]
    np.testing.assert_allclose(found, [0, 127 / 255, 25 / 255, 102 / 255])


def test_a_row_has_both_error_rates():
    labels, scores = np.array([0, 0, 1, 1]), np.array([0.1, 0.6, 0.7, 0.4])
    assert robustness.row("x", labels, scores, 0.5) == "| x | 0.7500 | 0.5000 | 0.500 | 0.500 |"


def test_the_threshold_of_a_run_is_that_of_its_own_detector(monkeypatch):
    monkeypatch.setattr(robustness.decision, "read", lambda path: SimpleNamespace(threshold=0.3))
    assert robustness.threshold_of(paths.DETECTOR, None) == 0.3
    assert robustness.threshold_of(paths.DETECTOR, 0.7) == 0.7
    assert robustness.threshold_of(Path("other.keras"), None) == 0.5


def test_a_missing_model_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["robustness", "--model", str(tmp_path / "none.keras")])
    with pytest.raises((PipelineError, SystemExit)):
        robustness.main()
