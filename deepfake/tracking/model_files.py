"""Models as folders in MLflow's format, written without loading TensorFlow."""

import json
import platform
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from deepfake.common.environment import installed_version
from deepfake.tracking.connection import client, load_mlflow
from deepfake.tracking.waiting import deadline, in_time

if TYPE_CHECKING:
    import pandas as pd


def write_sklearn(path: Path | str, example: "pd.DataFrame", folder: Path) -> None:
    """Write `folder` from a scikit-learn model that joblib saved at `path`.

    The model in it takes a table like `example` and returns the probabilities of the classes.
    """
    import joblib

    mlflow = load_mlflow()
    model = joblib.load(path)
    mlflow.sklearn.save_model(
        model,
        folder,
        signature=mlflow.models.infer_signature(example, model.predict_proba(example)),
        input_example=example,
        pyfunc_predict_fn="predict_proba",
        serialization_format="cloudpickle",
        pip_requirements=_requirements("scikit-learn", "pandas", "numpy", "cloudpickle"),
    )


def write_keras(path: Path | str, decision: Path | str, folder: Path) -> None:
    """Write `folder` from a `.keras` file, with the flavour of `mlflow.tensorflow`, and with the
    file `decision` as `decision.json`.

    The model takes uint8 pixels (n, height, width, 3) and returns P(fake) (n, 1). MLflow's own
    function would have to load the model, and TensorFlow, to write the same.
    """
    import numpy as np

    mlflow = load_mlflow()
    from mlflow.types import Schema, TensorSpec

    (folder / "data").mkdir(parents=True)
    shutil.copy2(path, folder / "data" / "model.keras")
    shutil.copy2(decision, folder / "decision.json")
    for name, text in (("keras_module", "tensorflow.keras"), ("save_format", "keras")):
        (folder / "data" / f"{name}.txt").write_text(text, encoding="utf-8")
    described = mlflow.models.Model(
        signature=mlflow.models.ModelSignature(
            Schema([TensorSpec(np.dtype("uint8"), (-1, -1, -1, 3), "pixels")]),
            Schema([TensorSpec(np.dtype("float32"), (-1, 1), "score")]),
        ),
        model_size_bytes=Path(path).stat().st_size,
        saved_input_example_info=_write_pixels(folder),
    )
    described.add_flavor(
        "tensorflow",
        data="data",
        model_type="keras",
        keras_version=installed_version("tensorflow"),
        save_format="keras",
    )
    mlflow.pyfunc.add_to_model(
        described,
        loader_module="mlflow.tensorflow",
        data="data",
        **_environment_files(folder, "mlflow", "tensorflow", "keras", "numpy"),
    )
    described.save(str(folder / "MLmodel"))


def _write_pixels(folder: Path) -> dict[str, str]:
    """Write two grey ramps of 16 × 16 pixels as the example of an input, as MLflow would.

    Returns:
        What the file `MLmodel` says of the example.
    """
    across = [[[16 * column] * 3 for column in range(16)] for _ in range(16)]
    down = [[[16 * row] * 3 for _ in range(16)] for row in range(16)]
    example = {"pixels": [across, down]}
    for file, content in (("input", example), ("serving_input", {"inputs": example})):
        (folder / f"{file}_example.json").write_text(json.dumps(content), encoding="utf-8")
    return {
        "artifact_path": "input_example.json",
        "serving_input_path": "serving_input_example.json",
        "type": "ndarray",
    }


def download(run_id: str, folder: Path) -> bool:
    """Download the model of another run into `folder`; returns whether that run has one."""
    mlflow = load_mlflow()
    outputs = client().get_run(run_id).outputs
    if not outputs or not outputs.model_outputs:
        return False
    folder.parent.mkdir(parents=True, exist_ok=True)
    uri = f"models:/{outputs.model_outputs[0].model_id}"
    download = mlflow.artifacts.download_artifacts
    in_time(lambda: download(uri, dst_path=str(folder)), deadline())
    return True


def _environment_files(folder: Path, *names: str) -> dict[str, str]:
    """Write the files by which MLflow sets up the environment of a model that needs some packages.

    MLflow would write the same after looking through all installed packages.

    Returns:
        The names of the files, as keyword arguments of `mlflow.pyfunc.add_to_model`.
    """
    requirements = _requirements(*names)
    (folder / "requirements.txt").write_text("\n".join(requirements), encoding="utf-8")
    python = platform.python_version()
    files = {
        "conda_env": {
            "name": "mlflow-env",
            "channels": ["conda-forge"],
            "dependencies": [f"python={python}", "pip", {"pip": requirements}],
        },
        "python_env": {"python": python, "dependencies": ["-r requirements.txt"]},
    }
    named = {"conda_env": "conda.yaml", "python_env": "python_env.yaml"}
    for key, content in files.items():
        (folder / named[key]).write_text(yaml.safe_dump(content), encoding="utf-8")
    return named


def _requirements(*names: str) -> list[str]:
    return [f"{name}=={installed_version(name)}" for name in names]
