"""Write the detector as a folder that is used without TensorFlow, and without this pipeline."""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from deepfake.common import paths
from deepfake.common.files import read_json, replacing, write_text
from deepfake.data import shards
from deepfake.evaluation import decision
from deepfake.exporting.agreement import write_formats
from deepfake.exporting.explanation import Explainable, explainable
from deepfake.inference import openvino_export
from deepfake.models import image_model
from deepfake.params import Params
from deepfake.serving import description
from deepfake.serving.description import Description


def export(settings: Params, folder: Path) -> tuple[Description, pd.DataFrame]:
    """Write the detector that the stages before have made.

    Args:
        settings: the parameters that they ran with.
        folder: `detector.json` comes last into it.

    Returns:
        What was written, and how well each format agrees with Keras.

    Raises:
        PipelineError: OpenVINO's scores are not Keras's.
    """
    classify = image_model.load(paths.DETECTOR).get_layer("classify")
    found = explainable(classify, settings.train.recipe, settings.embed)
    image_size = classify.input.shape[1]
    files = write_network(found, folder, image_size)
    table = write_formats(classify, found.network, settings.export, paths.IMAGES, folder)
    write_text(folder / description.TRAIN_IMAGES, train_images(paths.IMAGES))
    values = {
        "name": _name(settings),
        "recipe": settings.train.recipe,
        "image_size": image_size,
        **_decided(),
        "evaluation": _evaluation(),
        "trained_on": _trained_on(),
        "explanation": found.description,
    }
    return description.write(folder, values, [*files, description.TRAIN_IMAGES]), table


def write_network(found: Explainable, folder: Path, image_size: int) -> list[str]:
    """Write the network for OpenVINO, and what explains its scores; returns the files' names."""
    openvino_export.export(found.network, folder / description.NETWORK, image_size)
    files = [description.NETWORK, description.WEIGHTS]
    if found.description["method"] is None:
        return files
    with replacing(folder / description.HEAD) as partial:
        np.savez(partial, **found.arrays)  # type: ignore[arg-type]
    return [*files, description.HEAD]


def train_images(images: Path) -> str:
    """What tells whether an image was trained on: for each image of `train`, a line with the first
    16 hexadecimal digits of its file's SHA-256, sorted."""
    found = sorted(image_key(one.data) for one in shards.image_files(images, "train"))
    return "\n".join(found) + "\n"


def image_key(data: bytes) -> str:
    """The line of `train_images` for the bytes of an image file."""
    return hashlib.sha256(data).hexdigest()[:16]


def _name(settings: Params) -> str:
    recipe = settings.train.recipe
    return recipe if recipe == "cnn" else f"{recipe}, {settings.backbone.name}"


def _decided() -> dict[str, Any]:
    """How a score is read."""
    found = decision.read(paths.decision("image"))
    names = ("temperature", "threshold", "lower", "upper", "error_rate", "notes")
    return {name: getattr(found, name) for name in names}


def _evaluation() -> dict[str, Any]:
    """How good the detector was on `test`, on each source of it, and on data never trained on."""
    values = read_json(paths.metrics_file("image"))["test"]
    spans = read_json(paths.intervals("image"))
    groups = read_json(paths.groups("image"))
    return {
        "test": {name: {"value": value, **spans.get(name, {})} for name, value in values.items()},
        "images": read_json(paths.IMAGES_REPORT)["counts"]["test"],
        "source": groups["source"],
        "external": {name: one for name, one in groups["external"].items() if name != "test"},
    }


def _trained_on() -> dict[str, Any]:
    report = read_json(paths.IMAGES_REPORT)
    return {
        "sources": _names(shards.origins(paths.IMAGES, "train").values()),
        "images": report["counts"]["train"],
        "weights": read_json(paths.TRAINING_SUMMARY)["weights"],
    }


def _names(origins: Iterable[tuple[str, str]]) -> list[str]:
    """The names of the sources, sorted."""
    return sorted({source for _, source in origins})
