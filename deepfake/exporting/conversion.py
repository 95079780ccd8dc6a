"""Convert the network of a detector from Keras to ONNX and TFLite.

All take float32 pixels (n, s, s, 3) in [0, 255], the resized centre square of an image, and give
P(fake) (n, 1); n is 1 for TFLite.
"""

import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepfake.common.files import replacing
from deepfake.models.tensorflow_setup import quiet

Squares = Callable[[], Iterable[NDArray[np.float32]]]


def convert(network: Any, name: str, path: Path, calibration: Squares) -> None:
    """Write a network in a format.

    Args:
        network: a Keras model from pixels to the logit, and perhaps more outputs.
        name: of the format.
        path: of the file.
        calibration: gives squares (s, s, 3) of `train`, by which int8 finds the ranges of
            activations.
    """
    import keras

    logit = network.outputs[0]
    score = keras.layers.Activation("sigmoid", dtype="float32", name="score")(logit)
    classify = keras.Model(network.input, score, name="detector")
    with replacing(path) as partial, warnings.catch_warnings(), quiet():
        warnings.simplefilter("ignore")  # of converters, about NumPy and their own formats
        if name == "onnx":
            _write_onnx(classify, partial)
        else:
            _write_tflite(classify, partial, name, calibration)


def _write_onnx(classify: Any, path: Path) -> None:
    import tensorflow as tf

    shape = (None, *classify.input.shape[1:])
    pixels = tf.TensorSpec(shape, tf.float32, name="pixels")
    classify.export(str(path), format="onnx", input_signature=[pixels], verbose=False)
    _name_constants(path)


def _name_constants(path: Path) -> None:
    """Number the constants in the order of their use, so that the same network gives the same
    bytes: the converter numbers them in another order in each process."""
    import onnx

    model = onnx.load(path)
    constants = {one.name: one for one in model.graph.initializer}
    names: dict[str, str] = {}
    for node in model.graph.node:
        for place, name in enumerate(node.input):
            if name in constants:
                node.input[place] = names.setdefault(name, f"constant_{len(names)}")
    ordered = [constants[name] for name in names]
    for constant in ordered:
        constant.name = names[constant.name]
    del model.graph.initializer[:]
    model.graph.initializer.extend(ordered)
    path.write_bytes(model.SerializeToString(deterministic=True))


def _write_tflite(classify: Any, path: Path, name: str, calibration: Squares) -> None:
    import tensorflow as tf

    def examples() -> Iterator[list[NDArray[np.float32]]]:
        for square in calibration():
            yield [square[np.newaxis]]

    # Operations of TensorFlow itself, which LiteRT does not run, are not allowed.
    target: dict[str, Any] = {"supported_ops": [tf.lite.OpsSet.TFLITE_BUILTINS]}
    options: dict[str, Any] = {"experimental_enable_resource_variables": False}
    if name != "tflite":
        options["optimizations"] = [tf.lite.Optimize.DEFAULT]
    if name == "tflite_float16":
        target["supported_types"] = [tf.float16]
    if name == "tflite_int8":
        options["representative_dataset"] = examples
    pixels = tf.TensorSpec((1, *classify.input.shape[1:]), tf.float32, name="pixels")
    classify.export(
        os.fspath(path),
        format="litert",
        input_signature=[pixels],
        verbose=False,
        target_spec=target,
        **options,
    )
