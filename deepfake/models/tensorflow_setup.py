"""TensorFlow and Keras made ready: quiet, seeded, deterministic, in the precision asked for.

The import takes seconds, so it happens in `start` and only stages that compute call it.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

from deepfake.common.environment import anchored, cores
from deepfake.common.errors import PipelineError

# Keras imports these where it finds them, for parts of it that are not used here: as long again
# as TensorFlow itself takes.
_NOT_FOR_KERAS = ("matplotlib", "pandas", "scipy", "sklearn")


@dataclass(frozen=True)
class Hardware:
    """What the arithmetic runs on, as the run records it."""

    device: str  # "CPU" or the GPU's name
    cores: int
    precision: str  # Keras's name of the policy: float32, mixed_float16, mixed_bfloat16
    engine: str  # what computes: tensorflow, openvino, numpy

    def record(self) -> dict[str, str | int]:
        return asdict(self)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep what native code prints off the terminal: TensorFlow's start-up notes look like errors
    on a machine without a GPU, and its log level does not reach them. `TF_CPP_MIN_LOG_LEVEL=0`
    shows everything."""
    if os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2") == "0":
        yield
        return
    sys.stdout.flush()
    sys.stderr.flush()
    kept = {stream: os.dup(stream) for stream in (1, 2)}
    try:
        with open(os.devnull, "wb") as nowhere:
            for stream in kept:
                os.dup2(nowhere.fileno(), stream)
            yield
            sys.stdout.flush()
            sys.stderr.flush()
    finally:
        for stream, copy in kept.items():
            os.dup2(copy, stream)
            os.close(copy)


@contextmanager
def _absent(*packages: str) -> Iterator[None]:
    """Let the block find these packages not to be installed."""
    loaded = {name: sys.modules.get(name) for name in packages}
    # None: importing it raises ModuleNotFoundError.
    sys.modules.update(dict.fromkeys(packages))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name, module in loaded.items():
            del sys.modules[name]
            if module is not None:
                sys.modules[name] = module


def start(*, seed: int, precision: str, deterministic: bool = True) -> Hardware:
    """Import TensorFlow, seed every generator, make ops deterministic, choose the precision.

    `precision` is `auto` or a Keras policy. `auto` is mixed_float16 on a GPU that has tensor
    cores (compute capability 7 and later) and float32 elsewhere, so that every CPU computes
    alike. `deterministic=False` is for measuring what determinism costs.
    """
    home = os.environ.get("KERAS_HOME")
    if home:  # Keras reads it at import, from the working directory.
        os.environ["KERAS_HOME"] = str(anchored(home))
    with quiet(), _absent(*_NOT_FOR_KERAS):
        import keras
        import tensorflow as tf

        gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)
    details = tf.config.experimental.get_device_details(gpus[0]) if gpus else {}
    capable = details.get("compute_capability", (0, 0)) >= (7, 0)
    if precision == "auto":
        precision = "mixed_float16" if capable else "float32"
    if precision == "mixed_float16" and not gpus:
        raise PipelineError(
            "backbone.precision: received mixed_float16, which needs a GPU, and none was found; "
            "use auto, float32 or mixed_bfloat16"
        )
    keras.utils.set_random_seed(seed)
    if deterministic:
        tf.config.experimental.enable_op_determinism()
    return Hardware(str(details.get("device_name", "CPU")), cores(), precision, "tensorflow")
