"""Models in the store, loaded from there by MLflow and used."""

import json
from pathlib import Path

import joblib
import mlflow
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from deepfake.common.environment import installed_version
from deepfake.tracking import model_files
from tests.support.tracking import client, run


def test_an_sklearn_model_can_be_loaded_from_its_run_and_used(store: Path) -> None:
    table = pd.DataFrame({"bytes": [1.0, 2.0, 3.0, 4.0], "has_exif": [True, False, True, False]})
    model = LogisticRegression().fit(table, [0, 0, 1, 1])
    joblib.dump(model, store / "model.joblib")
    with run() as record:
        record.sklearn_model(store / "model.joblib", table.head(2))
        uri = f"runs:/{record.run_id}/train"
    info = mlflow.models.get_model_info(uri)
    assert info.signature.inputs.input_names() == ["bytes", "has_exif"]
    assert info.signature.outputs is not None
    assert info.saved_input_example_info is not None
    loaded = mlflow.pyfunc.load_model(uri)
    assert np.array_equal(loaded.predict(table), model.predict_proba(table))
    assert (store / "mlartifacts" / "models").is_dir()
    assert list(Path.cwd().iterdir()) == []


@pytest.mark.slow
def test_the_detector_is_a_keras_model_too(store: Path, tmp_path: Path) -> None:
    import keras

    pixels = keras.Input((None, None, 3), dtype="uint8", name="pixels")
    mean = keras.ops.mean(keras.ops.cast(pixels, "float32"), axis=(1, 2))
    model = keras.Model(pixels, keras.layers.Dense(1, "sigmoid")(mean / 255))
    model.save(tmp_path / "image.keras")
    (tmp_path / "exported").mkdir()
    (tmp_path / "exported" / "detector.json").write_text("{}")
    with run() as record:
        record.model_to_come()
        record.detector(tmp_path / "exported", tmp_path / "image.keras")
        assert record.run_id is not None
    uri = f"models:/{client(store).get_run(record.run_id).outputs.model_outputs[0].model_id}"
    mlflow.set_tracking_uri(f"sqlite:///{store}/mlflow.db")
    images = np.arange(2 * 5 * 4 * 3, dtype="uint8").reshape(2, 5, 4, 3)
    expected = np.asarray(model(images))
    np.testing.assert_allclose(np.asarray(mlflow.tensorflow.load_model(uri)(images)), expected)


def test_the_example_of_a_detector_is_what_mlflow_would_have_written(
    store: Path, tmp_path: Path
) -> None:
    (tmp_path / "exported").mkdir()
    (tmp_path / "image.keras").touch()
    folder, theirs = tmp_path / "model", tmp_path / "by_mlflow"
    folder.mkdir()
    theirs.mkdir()
    model_files.write_detector(tmp_path / "exported", tmp_path / "image.keras", folder)
    described = mlflow.models.Model.load(folder)
    mlflow.models.utils._Example(described.load_input_example(str(folder))).save(str(theirs))
    for file in theirs.iterdir():
        assert json.loads(file.read_text()) == json.loads((folder / file.name).read_text())
    assert f"openvino=={installed_version('openvino')}" in (
        (folder / "requirements.txt").read_text().splitlines()
    )
