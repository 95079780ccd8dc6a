"""Choose the engine that computes features on this machine."""

import ctypes
import os
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version

from deepfake.common import paths
from deepfake.common.environment import Hardware, cores
from deepfake.common.errors import PipelineError
from deepfake.inference import keras_engine, openvino_engine
from deepfake.inference.embed import Extract
from deepfake.inference.network import Network
from deepfake.models import pooling, tensorflow_setup
from deepfake.params import BackboneParams, EmbedParams


def make_extractor(
    network: BackboneParams, embed: EmbedParams, *, seed: int, threads: int | None = None
) -> tuple[Hardware, Extract]:
    """Make the function that computes the features of images, from the files of `backbone`.

    Args:
        network: the parameters of the backbone.
        embed: the parameters of the embeddings.
        seed: for TensorFlow's generators.
        threads: processors that OpenVINO uses; None: all.

    Returns:
        What computes, and the function.

    Raises:
        PipelineError: this machine cannot compute with that engine in that precision.
    """
    if chosen_engine(embed.engine, network.precision) == "openvino":
        precision = "float32" if network.precision == "auto" else network.precision
        used = threads or cores()
        sizes = [round(scale * network.image_size) for scale in embed.scales]
        compiled = Network(paths.FEATURE_NETWORK, sizes, precision, used, network.image_size)
        hardware = Hardware("CPU", used, precision, "openvino")
        return hardware, openvino_engine.extractor(
            compiled, image_size=network.image_size, views=embed.views
        )
    hardware = tensorflow_setup.start(seed=seed, precision=network.precision)
    features = pooling.saved_features(paths.BACKBONE_WEIGHTS, network, embed, hardware.precision)
    return hardware, keras_engine.extractor(
        features,
        image_size=network.image_size,
        views=embed.views,
        batch_size=embed.batch_size,
    )


def chosen_engine(engine: str, precision: str) -> str:
    """Return `openvino` or `tensorflow`, for `embed.engine` and `backbone.precision`.

    Raises:
        PipelineError: OpenVINO was asked for in a precision that this CPU does not have.
    """
    if engine == "tensorflow" or (engine == "auto" and has_gpu()):
        return "tensorflow"
    if precision in ("auto", "float32"):
        return "openvino"
    if precision == "mixed_bfloat16" and openvino_engine.has_bfloat16():
        return "openvino"
    if engine == "auto":
        return "tensorflow"
    raise PipelineError(
        f"embed.engine: openvino computes in float32 on this CPU, and backbone.precision is "
        f"{precision}: use float32 or auto, or embed.engine: tensorflow"
    )


def has_gpu() -> bool:
    """Whether CUDA finds a GPU and TensorFlow can use one, without starting TensorFlow."""
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1") or _is_for_cpus():
        return False
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    count = ctypes.c_int(0)
    return bool(cuda.cuInit(0) == 0 and cuda.cuDeviceGetCount(ctypes.byref(count)) == 0 and count)


def _is_for_cpus() -> bool:
    """Whether the TensorFlow that is installed knows no GPU, as that of `requirements.txt` on
    Linux."""
    with suppress(PackageNotFoundError):
        return bool(version("tensorflow-cpu"))
    return False
