"""The formats that `export.formats` may name: file, tolerance, and what must be installed."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec

from deepfake.common.errors import PipelineError


@dataclass(frozen=True)
class Format:
    """A format of the network.

    Attributes:
        file: its name in the folder.
        tolerance: the most by which a score may differ from Keras's.
        modules: what writing and checking it imports, and the package that each is in.
    """

    file: str
    tolerance: float
    modules: tuple[tuple[str, str], ...]


_LITERT = (("ai_edge_litert", "ai-edge-litert"),)
FORMATS = {
    "openvino": Format("network.xml", 1e-4, (("openvino", "openvino"),)),
    "onnx": Format(
        "detector.onnx",
        1e-4,
        (("onnx", "onnx"), ("tf2onnx", "tf2onnx"), ("onnxruntime", "onnxruntime")),
    ),
    "tflite": Format("detector.tflite", 1e-4, _LITERT),
    "tflite_float16": Format("detector_float16.tflite", 0.1, _LITERT),
    "tflite_int8": Format("detector_int8.tflite", 0.1, _LITERT),
}


def check(names: Sequence[str]) -> None:
    """Refuse formats whose packages are not installed.

    Raises:
        PipelineError: it names the formats, and the command that installs all that is missing.
    """
    missing = {
        name: [package for module, package in FORMATS[name].modules if find_spec(module) is None]
        for name in names
    }
    packages = sorted({package for found in missing.values() for package in found})
    if packages:
        asked = ", ".join(name for name, found in missing.items() if found)
        raise PipelineError(
            f"export.formats: {asked}: packages are missing that write or check them; run "
            f"`pip install {' '.join(packages)}`, or leave them out of export.formats"
        )
