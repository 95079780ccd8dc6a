"""Detectors that are fetched from MLflow: by alias, version, model and run; and what goes wrong."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deepfake.common.errors import PipelineError
from deepfake.serving import answers, registry
from deepfake.serving.detector import Detector
from deepfake.tracking import champions
from deepfake.tracking.store import Found
from tests.support import tracking_server
from tests.support.making import image_file
from tests.support.registry import GREEN, log_row, quick_detector
from tests.support.tracking import NOBODY, REQUIRED, client

pytestmark = pytest.mark.slow  # the tables of the store take seconds


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return quick_detector(tmp_path_factory.mktemp("exported") / "detector", GREEN)


@pytest.fixture(scope="module")
def filled(
    exported: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, Found]]:
    """A store whose registry has one model, and the row that it is of."""
    root = tmp_path_factory.mktemp("repository")
    (root / "image.keras").write_text("a model")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DVC_ROOT", str(root))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        row = log_row(REQUIRED, exported, root / "image.keras")
        champions.add("faces", row, {"test_roc_auc": 0.9})
        yield root, row


@pytest.fixture
def kept(filled: tuple[Path, Found], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where detectors are kept; nothing is there yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)  # MLflow sets it when it is told
    return tmp_path / "deepfake"


def test_a_detector_is_found_by_every_name(
    filled: tuple[Path, Found], kept: Path, exported: Path
) -> None:
    root, row = filled
    (model,) = client(root).get_run(row.run_id).outputs.model_outputs
    expected = Detector.load(exported).predict(image_file(1))
    for source in (
        "models:/faces@champion",
        "models:/faces/1",
        f"models:/{model.model_id}",
        f"runs:/{row.run_id}",
        f"runs:/{row.run_id}/image",
    ):
        assert Detector.load(source).predict(image_file(1)) == expected
    assert [path.name for path in kept.iterdir()] == [model.model_id]
    (one,) = registry.registered()
    assert (one.name, one.version, one.aliases) == ("faces", "1", ("champion",))
    assert one.tags["test_roc_auc"] == "0.9"
    assert registry.registered("faces") == [one]
    assert registry.fetch(one.source) == kept / model.model_id


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("models:/faces", "write models:/NAME@champion"),
        ("models:/../../x", "write models:/NAME@champion"),
        ("models:/faces@best", "best"),
        ("models:/faces/7", "version=7"),
        ("models:/nobody/1", "nobody"),
        (f"runs:/{'0' * 32}", "0" * 32),
    ],
)
def test_what_is_not_there_is_told_in_a_sentence(kept: Path, source: str, says: str) -> None:
    with pytest.raises(PipelineError, match=says) as told:
        registry.fetch(source)
    assert "\n" not in str(told.value)
    assert not kept.exists()


def test_a_damaged_download_is_fetched_anew(kept: Path) -> None:
    folder = registry.fetch("models:/faces@champion")
    (folder / "network.bin").write_bytes(b"damaged")
    assert registry.fetch("models:/faces@champion") == folder
    Detector(folder)


def test_a_server_that_is_down(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", NOBODY)
    for call in (lambda: registry.fetch("models:/faces@champion"), registry.registered):
        with pytest.raises(PipelineError, match=r"from MLflow at http://127\.0\.0\.1:9: ") as told:
            call()
        assert "secret" not in str(told.value)


def test_a_server_whose_answer_has_no_end(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "_MOST_BYTES", 5_000_000)
    with tracking_server.serving(tracking_server.endless) as address:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        for call in (lambda: registry.fetch("models:/faces@champion"), registry.registered):
            with pytest.raises(PipelineError, match="the answer is longer than 5 MB"):
                call()


@pytest.mark.parametrize("place", ["{}", "file://{}", "models:/faces/1", f"runs:/{'0' * 32}"])
def test_a_server_that_names_a_folder_of_this_machine(
    exported: Path, kept: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    with tracking_server.serving(tracking_server.model_in(place.format(exported))) as address:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        with pytest.raises(PipelineError, match="names a folder of this machine"):
            registry.fetch(f"models:/m-{'0' * 32}")
        assert not kept.exists()


def test_folders_of_the_users_own_models_stay_open(
    exported: Path, kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, python: Any
) -> None:
    command, environment = python(
        "import sys, mlflow; from deepfake.serving import registry\n"
        "try: registry.fetch(sys.argv[1])\n"
        "except registry.PipelineError as error: print(error)\n"
        "print(mlflow.artifacts.download_artifacts(sys.argv[2], dst_path=sys.argv[3]))",
        f"models:/m-{'0' * 32}", exported, tmp_path,
    )  # fmt: skip
    with tracking_server.serving(tracking_server.senseless) as address:
        environment["MLFLOW_TRACKING_URI"] = address
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False, timeout=120
        )
    assert "cannot get models:/m-0" in done.stdout
    assert done.returncode == 0, done.stderr
    assert (tmp_path / exported.name / "detector.json").is_file()


def test_models_are_listed_beyond_the_first_page(
    filled: tuple[Path, Found], kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = client(filled[0])
    others = ["bob's", *(f"other-{number:03}" for number in range(101))]  # MLflow's page has 100
    for name in others:
        api.create_registered_model(name)
    try:
        assert sorted(registry._names(api)) == sorted(["faces", *others])
        assert [one.name for one in registry.registered()] == [
            "faces"
        ]  # the others have no version
        monkeypatch.setattr(registry, "_MOST_MODELS", 3)
        assert len(registry._names(api)) == 3
    finally:
        for name in others:
            api.delete_registered_model(name)


def test_a_store_that_is_not_there_is_not_made(
    kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    with pytest.raises(PipelineError, match=r"there is no MLflow store at .*mlflow\.db"):
        registry.fetch("models:/faces@champion")
    assert list(tmp_path.iterdir()) == []


def test_a_detector_that_was_changed_in_the_store_is_refused_and_not_kept(
    filled: tuple[Path, Found], kept: Path
) -> None:
    (weights,) = (filled[0] / "mlartifacts").rglob("detector/network.bin")
    shutil.copy(weights, kept.parent / "original")
    weights.write_bytes(b"something else")
    try:
        with pytest.raises(PipelineError, match=r"network\.bin"):
            registry.fetch("models:/faces@champion")
    finally:
        shutil.copy(kept.parent / "original", weights)
    assert list(kept.iterdir()) == []
