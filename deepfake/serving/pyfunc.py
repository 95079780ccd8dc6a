"""The detector as MLflow calls it: `mlflow.pyfunc.load_model`, `mlflow models serve`, `spark_udf`.

The logged model names this module as its loader and holds a copy of it.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE

from deepfake.common.errors import PipelineError
from deepfake.serving import encoded
from deepfake.serving.detector import Detector

COLUMN = "image"
_FIELDS = ("score", "verdict", "reason")


def _load_pyfunc(path: str) -> "Model":
    """Load what the model's folder `path` holds, an exported detector; MLflow calls this."""
    return Model(Detector.load(path))


class Model:
    """A detector that takes what MLflow hands over."""

    def __init__(self, detector: Detector) -> None:
        self._detector = detector

    def predict(self, model_input: Any, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Score images.

        Args:
            model_input: a table or a dict with the images under `image`, or the images themselves;
                each as the bytes of an image file, their base64, or uint8 pixels
                (height, width, 3).
            params: MLflow has this argument; there are no parameters.

        Returns:
            A row for each image, in order: `score` is P(fake), calibrated, and `verdict` is `real`,
            `fake` or `uncertain`; both are None for an image that was refused, and `reason` says
            why.

        Raises:
            MlflowException: there is no column `image`, or an array does not hold uint8 pixels.
        """
        try:
            images = [("", _file_or_pixels(image)) for image in _listed(model_input)]
            found = encoded.predict(self._detector, images)
        except PipelineError as error:
            raise MlflowException(str(error), INVALID_PARAMETER_VALUE) from None
        rows = [[one.as_dict()[name] for name in _FIELDS] for one in found]
        return pd.DataFrame(rows, columns=list(_FIELDS), dtype=object)


def _listed(given: Any) -> list[Any]:
    """The images in what MLflow hands over.

    Raises:
        PipelineError: there is no column `image`.
    """
    if isinstance(given, str | bytes | bytearray):
        return [given]
    if isinstance(given, pd.DataFrame | Mapping):
        names = [str(name) for name in given]
        if COLUMN in names:
            return list(given[COLUMN])
        if len(names) == 1:  # Spark hands over a column without its name
            return list(given[next(iter(given))])
        raise PipelineError(
            f"the images are expected in the column `{COLUMN}`; received {', '.join(names)[:200]}"
        )
    return list(given)


def _file_or_pixels(image: Any) -> bytes | np.ndarray | None:
    """The bytes of an image file, or pixels; None for text that is not base64.

    A missing value counts as an empty file.
    """
    if image is None or (pd.api.types.is_scalar(image) and pd.isna(image)):
        return b""
    if isinstance(image, str | bytes | bytearray | memoryview):
        return encoded.decoded(image if isinstance(image, str) else bytes(image))
    try:
        pixels = np.asarray(image)
    except ValueError:
        raise PipelineError(
            "an image is expected as uint8 of shape (height, width, 3); received rows of different "
            "lengths"
        ) from None
    whole = np.issubdtype(pixels.dtype, np.integer) and pixels.size
    if whole and pixels.min() >= 0 and pixels.max() <= 255:  # JSON has no uint8
        return pixels.astype(np.uint8)
    return pixels
