"""Models as folders in MLflow's format, written without loading TensorFlow."""

import base64
import io
import json
import platform
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from PIL import Image

import deepfake
from deepfake.common.environment import installed_version
from deepfake.tracking.connection import client, load_mlflow
from deepfake.tracking.waiting import deadline, in_time

if TYPE_CHECKING:
    import pandas as pd

# The library's files by which an exported detector is used.
_CODE = (
    "__init__.py", "common/*.py", "data/__init__.py", "data/images.py", "data/jpeg.py",
    "data/png.py", "inference/__init__.py", "inference/network.py", "serving/__init__.py",
    "serving/description.py", "serving/detector.py", "serving/encoded.py", "serving/pyfunc.py",
)  # fmt: skip


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


def write_detector(exported: Path, keras: Path, folder: Path) -> None:
    """Write `folder` from an exported detector, and from the `.keras` file that it was made of.

    With `mlflow.pyfunc` it takes image files, as bytes or base64, or uint8 pixels, and needs no
    TensorFlow (`serving.pyfunc`); the code for that lies in it. With `mlflow.tensorflow` it is the
    Keras model. It has no signature of its inputs: MLflow knows none that allows both files and
    pixels. MLflow's own function would have to load the model to write the same.
    """
    mlflow = load_mlflow()
    from mlflow.types import ColSpec, DataType, Schema

    shutil.copytree(exported, folder / "detector")
    (folder / "keras").mkdir()
    shutil.copy2(keras, folder / "keras" / "model.keras")
    for name, text in (("keras_module", "tensorflow.keras"), ("save_format", "keras")):
        (folder / "keras" / f"{name}.txt").write_text(text, encoding="utf-8")
    _copy_code(folder / "code")
    outputs = {"score": DataType.double, "verdict": DataType.string, "reason": DataType.string}
    described = mlflow.models.Model(
        signature=mlflow.models.ModelSignature(
            outputs=Schema([ColSpec(kind, name, required=False) for name, kind in outputs.items()])
        ),
        model_size_bytes=sum(file.stat().st_size for file in exported.iterdir()),
        saved_input_example_info=_write_example(folder),
    )
    described.add_flavor(
        "tensorflow",
        data="keras",
        model_type="keras",
        keras_version=installed_version("tensorflow"),
        save_format="keras",
        code="code",
    )
    mlflow.pyfunc.add_to_model(
        described,
        loader_module="deepfake.serving.pyfunc",
        data="detector",
        code="code",
        **_environment_files(folder, "mlflow", "numpy", "openvino", "pandas", "pillow"),
    )
    described.save(str(folder / "MLmodel"))


def _copy_code(target: Path) -> None:
    """Copy the part of the library by which an exported detector is used."""
    library = Path(deepfake.__file__).parent
    for pattern in _CODE:
        for file in library.glob(pattern):
            copied = target / "deepfake" / file.relative_to(library)
            copied.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copied)


def _write_example(folder: Path) -> dict[str, str]:
    """Write a grey ramp of 16 × 16 pixels, a PNG in base64, as the example of an input, as MLflow
    would.

    Returns:
        What the file `MLmodel` says of the example.
    """
    file = io.BytesIO()
    Image.frombytes("L", (16, 16), bytes(range(256))).save(file, "PNG")
    image = base64.b64encode(file.getvalue()).decode()
    table = {"columns": ["image"], "data": [[image]]}
    for name, content in (("input", table), ("serving_input", {"dataframe_split": table})):
        (folder / f"{name}_example.json").write_text(json.dumps(content), encoding="utf-8")
    return {
        "artifact_path": "input_example.json",
        "serving_input_path": "serving_input_example.json",
        "type": "dataframe",
        "pandas_orient": "split",
    }


def download(run_id: str, folder: Path) -> bool:
    """Download the model of another run into `folder`; returns whether that run has one, with its
    files."""
    mlflow = load_mlflow()
    from mlflow.entities import LoggedModelStatus

    outputs = client().get_run(run_id).outputs
    if not outputs or not outputs.model_outputs:
        return False
    if (
        client().get_logged_model(outputs.model_outputs[0].model_id).status
        != LoggedModelStatus.READY
    ):
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
