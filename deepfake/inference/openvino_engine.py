"""The frozen network on a CPU: OpenVINO, which computes the same features several times as fast as
Keras, and starts without TensorFlow."""

import os
import queue
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepfake.common import threads
from deepfake.common.environment import cores
from deepfake.common.errors import PipelineError
from deepfake.data import images, shards
from deepfake.data.resizing import resized
from deepfake.inference import embed
from deepfake.models.symmetries import shown


def chosen(engine: str, precision: str) -> str:
    """`openvino` or `tensorflow`, for `embed.engine` and `backbone.precision` on this machine.

    Raises:
        PipelineError: OpenVINO was asked for in a precision that it does not have here.
    """
    if engine == "tensorflow" or (engine == "auto" and has_gpu()):
        return "tensorflow"
    if precision in ("auto", "float32") or (precision == "mixed_bfloat16" and has_bfloat16()):
        return "openvino"
    if engine == "auto":
        return "tensorflow"
    raise PipelineError(
        f"embed.engine: openvino computes in float32 on this CPU, and backbone.precision is "
        f"{precision}: use float32 or auto, or embed.engine: tensorflow"
    )


def has_bfloat16() -> bool:
    """Whether this CPU computes in bfloat16 itself."""
    import openvino

    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


class Network:
    """The network that `conversion.convert` wrote, ready for float32 images (views, size, size,
    3) in [0, 255], to be called from any number of threads.

    An image is computed by one thread of one stream, so that neither the number of processors nor
    what else is computed changes a bit of its features.
    """

    def __init__(self, path: Path, sizes: Sequence[int], precision: str = "float32") -> None:
        import openvino

        core = openvino.Core()
        model = core.read_model(path)
        settings = {
            "NUM_STREAMS": cores(),
            "INFERENCE_NUM_THREADS": cores(),
            "INFERENCE_PRECISION_HINT": "f32" if precision == "float32" else "bf16",
        }
        self._sizes = list(sizes)
        self._compiled = []
        for size in self._sizes:
            # Where it leaves the number of images open, OpenVINO takes a quarter longer.
            model.reshape([1, size, size, 3])
            self._compiled.append(core.compile_model(model, "CPU", settings))
        # Made here and now, and one used: what the bindings set up at the first call, threads that
        # make it side by side may wait for, each for the other, forever.
        self._requests: queue.SimpleQueue[list[Any]] = queue.SimpleQueue()
        for _ in range(cores()):
            self._requests.put([model.create_infer_request() for model in self._compiled])
        self(np.zeros((1, self._sizes[0], self._sizes[0], 3), "float32"))

    def __call__(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Features (views, d): those of each size in turn, the images resized to it."""
        requests = self._requests.get()
        try:
            return np.stack([self._features(requests, view) for view in pixels])
        finally:
            self._requests.put(requests)

    def _features(self, requests: list[Any], view: NDArray[np.float32]) -> NDArray[np.float32]:
        sizes = zip(requests, self._sizes, strict=True)
        parts = [self._infer(request, view, size) for request, size in sizes]
        return np.concatenate(parts) if len(parts) > 1 else parts[0]

    def _infer(self, request: Any, view: NDArray[np.float32], size: int) -> NDArray[np.float32]:
        if size != len(view):
            view = resized(view, size)
        request.infer([view[np.newaxis]], share_inputs=True)
        return np.array(request.get_output_tensor(0).data[0])


def extractor(
    path: Path,
    *,
    image_size: int,
    scales: Sequence[float],
    views: Sequence[str],
    precision: str = "float32",
) -> embed.Extract:
    """A function from images to the features (views, d) float32 of each, in order.

    A thread a processor decodes an image, resizes it and computes its features.
    """
    network = Network(path, [round(scale * image_size) for scale in scales], precision)

    def features(image_file: shards.ImageFile) -> NDArray[np.float32]:
        square = resized(images.decode(image_file.data), image_size)
        return network(np.stack([shown(square, view) for view in views]))

    return lambda image_files: threads.ordered(features, image_files, cores())


def has_gpu() -> bool:
    """Whether this machine has a GPU that CUDA can use, without loading TensorFlow to ask."""
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return False
    import ctypes

    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    count = ctypes.c_int(0)
    return bool(cuda.cuInit(0) == 0 and cuda.cuDeviceGetCount(ctypes.byref(count)) == 0 and count)
