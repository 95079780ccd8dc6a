"""Run an exported network in the runtime of its format, one image at a time."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepfake.common.environment import cores
from deepfake.inference import keras_engine
from deepfake.inference.network import Network

# From a square (s, s, 3), float32 in [0, 255], to P(fake).
Score = Callable[[NDArray[np.float32]], float]


def keras(classify: Any) -> Score:
    """The model `classify` of the detector, compiled by TensorFlow."""
    import tensorflow as tf

    forward = keras_engine.compiled(classify, classify.input.shape[1])
    return lambda square: float(forward(tf.constant(square[np.newaxis])).numpy()[0, 0])


def runtime(name: str, path: Path, image_size: int) -> Score:
    """The network in `path`, in the format `name`."""
    if name == "openvino":
        return _openvino(path, image_size)
    return _onnx(path) if name == "onnx" else _litert(path)


def _openvino(path: Path, image_size: int) -> Score:
    network = Network(path, [image_size])

    def score(square: NDArray[np.float32]) -> float:
        return float(1 / (1 + np.exp(-network([square])[0, 0].astype("float64"))))

    return score


def _onnx(path: Path) -> Score:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = cores()
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda square: float(session.run(None, {name: square[np.newaxis]})[0][0, 0])


def _litert(path: Path) -> Score:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=cores())
    interpreter.allocate_tensors()
    pixels = interpreter.get_input_details()[0]["index"]
    output = interpreter.get_output_details()[0]["index"]

    def score(square: NDArray[np.float32]) -> float:
        interpreter.set_tensor(pixels, square[np.newaxis])
        interpreter.invoke()
        return float(interpreter.get_tensor(output)[0, 0])

    return score
