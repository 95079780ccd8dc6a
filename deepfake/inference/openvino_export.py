"""Export networks from Keras to OpenVINO, and check that both compute the same."""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from deepfake.common.errors import PipelineError
from deepfake.common.files import replacing
from deepfake.data.textures import textures
from deepfake.inference.network import Network

CHECKED = 4  # random textures on which the engines are compared
LEAST_COSINE = 0.9999
SIZE = 128  # pixels of those textures


def export(network: Any, path: Path, image_size: int = SIZE) -> None:
    """Write a Keras model as an OpenVINO network; the same weights give the same bytes.

    Args:
        network: a model of float32 pixels (batch, height, width, 3), with one output or several.
        path: the network (.xml); its weights are written next to it (.bin), in float32.
        image_size: pixels; one that the network takes.
    """
    import openvino
    from openvino.passes import Manager, Serialize

    with warnings.catch_warnings(), _unreported():
        # The converter passes the input as a one-element list, about which Keras warns.
        warnings.simplefilter("ignore", UserWarning)
        model = _in_order(openvino.convert_model(network), network, image_size)
    model.set_friendly_name(network.name)
    for number, operation in enumerate(model.get_ordered_ops()):
        # The converter numbers names across the process: they depend on what was built before.
        operation.set_friendly_name(f"{operation.get_type_name()}_{number}")
        for output in operation.outputs():
            output.get_tensor().set_names(set())
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path.with_suffix(".bin")) as weights, replacing(path) as graph:
        passes = Manager()
        passes.register_pass(Serialize(str(graph), str(weights)))
        passes.run_passes(model)


@contextmanager
def _unreported() -> Iterator[None]:
    """In the block, OpenVINO's converter tells its makers nothing.

    It would do so unasked, over the network, and keep an identifier in the home folder. The only
    switch that needs no file there is the variable by which it knows a CI.
    """
    before = os.environ.get("CI")
    os.environ["CI"] = "true"
    try:
        yield
    finally:
        if before is None:
            del os.environ["CI"]
        else:
            os.environ["CI"] = before


def _in_order(model: Any, network: Any, image_size: int) -> Any:
    """The converted model with its outputs in the order of Keras's, which the converter loses: each
    is found by what it gives for a random texture."""
    import openvino

    expected = network(textures(1, image_size, seed=0), training=False)
    if not isinstance(expected, list | tuple):
        return model
    request = openvino.compile_model(model, "CPU").create_infer_request()
    found = list(request.infer([textures(1, image_size, seed=0)]).values())
    results, ordered = model.get_results(), []
    for wanted in (np.asarray(one) for one in expected):
        apart = [
            np.abs(one - wanted).max() if one.shape == wanted.shape else np.inf for one in found
        ]
        ordered.append(results[int(np.argmin(apart))])
    return openvino.Model(ordered, model.get_parameters(), network.name)


def least_cosine(found: np.ndarray, expected: np.ndarray) -> float:
    """The least cosine between the features (..., d) of an image by two engines."""
    lengths = np.linalg.norm(expected, axis=-1) * np.linalg.norm(found, axis=-1)
    return float(((expected * found).sum(axis=-1) / lengths).min())


def agreement(features: Any, path: Path, seed: int) -> dict[str, float]:
    """Compare OpenVINO's features with Keras's on `CHECKED` random textures.

    Args:
        features: the model that was exported.
        path: the network.
        seed: of the textures.

    Returns:
        `cosine`, the smallest of all images, and `difference`, the largest absolute difference as a
        fraction of the largest feature.

    Raises:
        PipelineError: the cosine is below `LEAST_COSINE`.
    """
    pixels = textures(CHECKED, SIZE, seed)
    expected = np.asarray(features(pixels, training=False))
    network = Network(path, [SIZE])
    found = np.concatenate([network([texture]) for texture in pixels])
    cosine = least_cosine(found, expected)
    if not cosine >= LEAST_COSINE:
        raise PipelineError(
            f"OpenVINO's features are not Keras's (cosine {cosine:.6f}): set embed.engine to "
            "tensorflow, and please report it with the versions of openvino and tensorflow"
        )
    difference = float(np.abs(expected - found).max() / np.abs(expected).max())
    return {"cosine": cosine, "difference": difference}
