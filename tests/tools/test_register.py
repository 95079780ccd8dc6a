"""Models that are registered or refused, and the way back, with a real store."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from deepfake import params
from deepfake.common import paths
from deepfake.common.errors import PipelineError
from deepfake.data.shards import ImageFile, ShardWriter, image_files
from deepfake.evaluation.predictions import predictions, write_predictions
from deepfake.exporting.export import image_key
from deepfake.params import Params
from deepfake.tracking import champions
from tests.support.making import encoded
from tests.support.registry import GREEN, RED, log_row, quick_detector
from tests.support.tracking import client
from tools import register

pytestmark = pytest.mark.slow  # the tables of the store take seconds
ROOT = Path(__file__).parent.parent.parent
NAME = "deepfake-pipeline"
LABELS = np.array([0, 1] * 15)


@pytest.fixture
def settings(tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    """A workspace with 30 images of `valid`, whose green tells the fakes, and a baseline that does
    not."""
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "kept"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with ShardWriter(paths.IMAGES, 1.0) as writer:
        for number, label in enumerate(LABELS):
            image = Image.new("RGB", (8, 8), (number * 7 % 256, 80 + 60 * int(label), 0))
            data = encoded(image, "PNG")
            writer.write(ImageFile(f"{number:016x}", int(label), "valid", f"{number}.png", data))
    paths.metrics_file("image").parent.mkdir()
    paths.metrics_file("image").write_text(json.dumps({"test": {"roc_auc": 0.75}}))
    predict("baseline", np.resize([0.2, 0.2, 0.7, 0.7], len(LABELS)))
    found = params.load(ROOT / "params.yaml")
    chosen = found.compare.model_copy(update={"bootstrap_samples": 100})
    tracking = found.tracking.model_copy(update={"policy": "required", "experiment": NAME})
    return found.model_copy(update={"compare": chosen, "tracking": tracking})


def predict(model: str, scores: Any) -> None:
    """Write the predictions of `baseline` or `image` for `valid`."""
    ids = [f"{number:016x}" for number in range(len(LABELS))]
    table = predictions(ids, LABELS, np.asarray(scores, dtype=float), ids)
    paths.predictions(model).mkdir(parents=True, exist_ok=True)
    write_predictions(paths.predictions(model) / "valid.csv", table)


@pytest.fixture
def made(settings: Params) -> Callable[..., None]:
    """Make an image model, as the stages would: `made(name, scores, colour, train images)`."""

    def make(name: str, scores: Any, weights: Any = GREEN, train_images: Any = ()) -> None:
        exported = quick_detector(Path(name), weights, train_images)
        paths.DETECTOR.parent.mkdir(parents=True, exist_ok=True)
        paths.DETECTOR.write_text(name)
        predict("image", scores)
        log_row(settings.tracking, exported, paths.DETECTOR)

    return make


def versions(root: Path) -> list[str]:
    return sorted(
        str(one.version) for one in client(root).search_model_versions(f"name = '{NAME}'")
    )


def test_better_models_become_the_champion_and_there_is_a_way_back(
    settings: Params, made: Callable[..., None], tmp_path: Path
) -> None:
    made("first", 0.6 * LABELS + np.resize([0, 0, 0.4], 30), RED)
    told = register.register(settings)
    assert "less that of the baseline is +" in told
    assert told.endswith("version 1 of deepfake-pipeline is the champion now")
    assert client(tmp_path).get_model_version(NAME, "1").tags["test_roc_auc"] == "0.75"
    assert "registered already, as version 1" in register.register(settings)
    made("second", LABELS)
    told = register.register(settings)
    assert "less that of version 1, the champion, is +" in told
    assert told.endswith("version 2 of deepfake-pipeline is the champion now")
    assert versions(tmp_path) == ["1", "2"]
    assert champions.champion(NAME) == "2"
    assert register._back(settings).startswith("version 1 is the champion again; version 2 stays")
    assert champions.champion(NAME) == "1"
    with pytest.raises(PipelineError, match="version 1 of deepfake-pipeline was the first"):
        register._back(settings)
    assert "as version 2 of deepfake-pipeline; the champion is version 1" in (
        register.register(settings)
    )


def test_a_model_that_is_not_better_is_not_registered(
    settings: Params, made: Callable[..., None], tmp_path: Path
) -> None:
    with pytest.raises(PipelineError, match=r"detector\.keras is missing: run `make repro`"):
        register.register(settings)
    made("no better than the baseline", np.resize([0.2, 0.2, 0.7, 0.7], len(LABELS)))
    with pytest.raises(PipelineError, match=r"that of the baseline is .*, which may be none"):
        register.register(settings)
    assert champions.champion(NAME) is None
    with pytest.raises(PipelineError, match="has no champion"):
        register._back(settings)
    made("good", LABELS, GREEN)
    register.register(settings)
    made("as good", LABELS)
    with pytest.raises(PipelineError, match=r"that of version 1, the champion, is .* may be none"):
        register.register(settings)
    assert versions(tmp_path) == ["1"]


def test_a_champion_that_knows_the_images_is_not_compared(
    settings: Params, made: Callable[..., None], tmp_path: Path
) -> None:
    keys = [image_key(one.data) for one in image_files(paths.IMAGES, "valid")]
    made("champion", LABELS, RED, keys[:3])
    register.register(settings)
    made("challenger", LABELS)
    with pytest.raises(PipelineError, match="trained on 3 of the 30 images of valid"):
        register.register(settings)
    paths.DETECTOR.write_text("not logged")
    with pytest.raises(PipelineError, match="run `make sync`"):
        register.register(settings)
    assert versions(tmp_path) == ["1"]
