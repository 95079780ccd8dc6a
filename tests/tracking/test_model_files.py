"""Models in the store, loaded from there by MLflow and used."""

import json
from pathlib import Path

import joblib
import mlflow
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

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
def test_keras_model_is_what_mlflow_would_have_logged(store: Path, tmp_path: Path) -> None:
    import keras

    pixels = keras.Input((None, None, 3), dtype="uint8", name="pixels")
    mean = keras.ops.mean(keras.ops.cast(pixels, "float32"), axis=(1, 2))
    model = keras.Model(pixels, keras.layers.Dense(1, "sigmoid")(mean / 255))
    model.save(tmp_path / "image.keras")
    (tmp_path / "decided.json").write_text('{"threshold": 0.4}')
    with run() as record:
        record.keras_model(tmp_path / "image.keras", tmp_path / "decided.json")
        assert record.run_id is not None
    uri = f"models:/{client(store).get_run(record.run_id).outputs.model_outputs[0].model_id}"
    mlflow.set_tracking_uri(f"sqlite:///{store}/mlflow.db")
    image_files = np.arange(2 * 5 * 4 * 3, dtype="uint8").reshape(2, 5, 4, 3)
    expected = np.asarray(model(image_files))
    found = mlflow.pyfunc.load_model(uri).predict(image_files)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    np.testing.assert_allclose(np.asarray(mlflow.tensorflow.load_model(uri)(image_files)), expected)
    signature = mlflow.models.get_model_info(uri).signature
    assert "uint8" in str(signature.inputs)
    folder = Path(mlflow.artifacts.download_artifacts(uri))
    assert (folder / "decision.json").read_text() == '{"threshold": 0.4}'
    described = mlflow.models.Model.load(folder)
    example = described.load_input_example(str(folder))
    assert (example["pixels"].shape, example["pixels"].dtype) == ((2, 16, 16, 3), np.uint8)
    assert mlflow.pyfunc.load_model(uri).predict(example).shape == (2, 1)
    theirs = tmp_path / "by_mlflow"
    theirs.mkdir()
    mlflow.models.utils._Example(example).save(str(theirs))
    for file in theirs.iterdir():
        assert json.loads(file.read_text()) == json.loads((folder / file.name).read_text())
    assert f"keras=={keras.__version__}" in (folder / "requirements.txt").read_text()
