"""A small exported detector, and images for it."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from deepfake import params
from deepfake.serving import description
from deepfake.sources.portraits.render import render
from tests.support.networks import LAYERS, SIZE, VIEWS, linear

if TYPE_CHECKING:
    from deepfake.exporting.explanation import Explainable

ROOT = Path(__file__).resolve().parents[2]
DECIDED = {
    "temperature": 1.0,
    "threshold": 0.5,
    "lower": 0.4,
    "upper": 0.6,
    "error_rate": 0.02,
    "notes": [],
}


def small_detector(folder: Path) -> Path:
    """Export a small image model with random weights into `folder`; returns it.

    `image.keras` beside the folder is the model. Takes some seconds, for TensorFlow starts.
    """
    from deepfake.exporting.export import write_network
    from deepfake.models import image_model, mobilenet_v2, pooling, tensorflow_setup

    tensorflow_setup.start(seed=3, precision="float32")
    network = mobilenet_v2.initial("random", 0.35)[0]
    features = pooling.features(network, LAYERS, ["mean", "std"], SIZE)
    kernel = np.random.default_rng(0).normal(size=(features.output_shape[-1], 1))
    head = image_model.keras_head(linear(len(kernel), kernel), 0.0)
    model = image_model.assemble(features, head, VIEWS, SIZE)
    image_model.save(model, folder.parent / "image.keras")
    found = small_explainable(folder)
    files = write_network(found, folder, SIZE)
    (folder / description.TRAIN_IMAGES).write_text("0123456789abcdef\n", encoding="utf-8")
    values = {
        "name": "probe, MobileNetV2",
        "recipe": "probe",
        "image_size": SIZE,
        **DECIDED,
        "evaluation": {
            "test": {
                "roc_auc": {"value": 0.98, "low": 0.96, "high": 0.99},
                "accuracy": {"value": 0.93, "low": 0.9, "high": 0.96},
            },
            "images": {"real": 150, "fake": 150},
            "source": {},
            "external": {},
        },
        "trained_on": {
            "sources": ["sample"],
            "images": {"real": 700, "fake": 700},
            "weights": "random",
        },
        "explanation": found.description,
    }
    description.write(folder, values, [*files, description.TRAIN_IMAGES])
    return folder


def small_explainable(folder: Path) -> "Explainable":
    """What `small_detector` exported into `folder`, as Keras has it."""
    from deepfake.exporting.explanation import explainable
    from deepfake.models import image_model

    model = image_model.load(folder.parent / "image.keras")
    made = params.load(ROOT / "params.yaml").embed.model_copy(
        update={"layers": LAYERS, "pooling": "mean_std", "views": VIEWS}
    )
    return explainable(model.get_layer("classify"), "probe", made)


def faces(folder: Path, count: int) -> list[Path]:
    """Write portraits of the sample, real and fake in turns, as JPEG files; returns their paths."""
    paths = []
    for number in range(count):
        path = folder / f"face-{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(render(label=number % 2, seed=1, index=number, size=128))
        paths.append(path)
    return paths
