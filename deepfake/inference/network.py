"""Run a network with OpenVINO, from any number of threads."""

import queue
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepfake.common.environment import cores
from deepfake.common.files import reading
from deepfake.data.images import resized


class Network:
    """A network that OpenVINO reads, ready to be called from any number of threads.

    One thread computes one image in one stream, so that neither the number of processors nor what
    else is computed changes a bit of its features.

    Args:
        path: the network (.xml); of several outputs, only the first is computed.
        sizes: pixels; the sizes in which the network sees an image.
        precision: `float32` or `mixed_bfloat16`.
        threads: number of streams; None: one for each processor.
        image_size: pixels; the size in which images are given; None: the first of `sizes`.
    """

    def __init__(
        self,
        path: Path,
        sizes: Sequence[int],
        precision: str = "float32",
        threads: int | None = None,
        image_size: int | None = None,
    ) -> None:
        import openvino

        self.threads = threads or cores()
        core = openvino.Core()
        with reading(path.with_suffix(".bin")):  # most likely: its file of weights
            whole = core.read_model(path)
        model = openvino.Model(whole.get_results()[:1], whole.get_parameters(), "first output")
        settings: dict[str, Any] = {
            "NUM_STREAMS": self.threads,
            "INFERENCE_NUM_THREADS": self.threads,
            "INFERENCE_PRECISION_HINT": "f32" if precision == "float32" else "bf16",
        }
        if self.threads < cores():
            # Processes that share the machine would all be bound to its first processors.
            settings["ENABLE_CPU_PINNING"] = False
        self._sizes = list(sizes)
        self._image_size = image_size or self._sizes[0]
        compiled = []
        for size in self._sizes:
            # With a dynamic batch size, OpenVINO takes a quarter longer.
            model.reshape([1, size, size, 3])
            compiled.append(core.compile_model(model, "CPU", settings))
        # Create and warm up the requests here: concurrent first calls can deadlock in OpenVINO's
        # bindings.
        self._requests: queue.SimpleQueue[list[Any]] = queue.SimpleQueue()
        for _ in range(self.threads):
            self._requests.put([one.create_infer_request() for one in compiled])
        self([np.zeros((self._image_size, self._image_size, 3), "float32")])

    def __call__(self, views: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Compute the features of an image in several views.

        Args:
            views: shape (image_size, image_size, 3) each, in [0, 255].

        Returns:
            Shape (views, d): the features in each size, one after the other.

        Raises:
            ValueError: a view has another type or shape.
        """
        for view in views:
            expected = (self._image_size, self._image_size, 3)
            if view.dtype != np.float32 or view.shape != expected:
                raise ValueError(
                    f"views are expected as float32, 0 to 255, of shape {expected}; received "
                    f"{view.dtype} of shape {view.shape}"
                )
        requests = self._requests.get()
        try:
            return np.stack([self._features(requests, view) for view in views])
        finally:
            self._requests.put(requests)

    def _features(self, requests: list[Any], view: NDArray[np.float32]) -> NDArray[np.float32]:
        sizes = zip(requests, self._sizes, strict=True)
        parts = [self._infer(request, view, size) for request, size in sizes]
        return np.concatenate(parts) if len(parts) > 1 else parts[0]

    def _infer(self, request: Any, view: NDArray[np.float32], size: int) -> NDArray[np.float32]:
        if size != len(view):
            view = resized(view, size)
        request.infer([np.ascontiguousarray(view)[np.newaxis]], share_inputs=True)
        return np.array(request.get_output_tensor(0).data[0])
