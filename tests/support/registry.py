"""Detectors that are made in a moment, and rows in MLflow that have them as their model."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from deepfake.common.files import sha256_file
from deepfake.params import TrackingParams
from deepfake.serving import description
from deepfake.tracking.run import start_run
from deepfake.tracking.store import Found, find
from tests.support.serving import DECIDED

RED, GREEN = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0)


def quick_detector(
    folder: Path, weights: tuple[float, float, float], train_images: Iterable[str] = ()
) -> Path:
    """Export a detector of a few operations into `folder`; returns it.

    Args:
        weights: of the mean red, green and blue; the larger their sum, the larger the score.
        train_images: lines of `train_images.txt`.
    """
    import openvino
    from openvino import opset13 as ops

    folder.mkdir(parents=True)
    pixels = ops.parameter([1, 32, 32, 3], np.float32, "pixels")
    means = ops.reduce_mean(pixels, ops.constant([1, 2]), keep_dims=False)
    logit = ops.matmul(
        means, ops.constant(np.array(weights, np.float32)[:, None] / 50), False, False
    )
    model = openvino.Model([ops.subtract(logit, np.array(2.5, np.float32))], [pixels], "quick")
    openvino.save_model(model, folder / description.NETWORK, compress_to_fp16=False)
    (folder / description.TRAIN_IMAGES).write_text("".join(f"{key}\n" for key in train_images))
    values = {
        "name": "quick",
        "recipe": "probe",
        "image_size": 32,
        **DECIDED,
        "evaluation": {},
        "trained_on": {},
        "explanation": {"method": None, "why": "it is too small"},
    }
    files = [description.NETWORK, description.WEIGHTS, description.TRAIN_IMAGES]
    description.write(folder, values, files)
    return folder


def log_row(settings: TrackingParams, exported: Path, keras: Path) -> Found:
    """Log a row `image` whose model is an exported detector, made of the file `keras`."""
    digest = sha256_file(keras)
    with start_run(settings, stage="evaluate", kind="model", name="image") as run:
        run.detector(exported, keras)
        tags = {"detector_sha256": digest, "exported_sha256": description.read(exported).digest}
        run.tags({"model_sha256": digest, **tags})
        run.current()
    return find(settings, row="image", detector_sha256=digest)[0]
