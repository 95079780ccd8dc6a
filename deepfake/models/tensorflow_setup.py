"""Start TensorFlow and Keras: quiet, seeded, deterministic, in the precision asked for.

Importing them takes seconds, so `start` does it, and only code that computes with them calls it.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from deepfake.common.environment import Hardware, anchored, cores


@contextmanager
def quiet() -> Iterator[None]:
    """Hide what native code prints.

    On a machine without a GPU, TensorFlow's start-up notes look like errors, and its log level does
    not reach them. `TF_CPP_MIN_LOG_LEVEL=0` shows everything.
    """
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


def start(*, seed: int, precision: str, deterministic: bool = True) -> Hardware:
    """Import TensorFlow, seed every generator, make operations deterministic, choose the precision.

    Args:
        seed: of every generator.
        precision: a Keras policy, or `auto`: mixed_float16 on a GPU with tensor cores (compute
            capability 7 and later), float32 elsewhere, so that all CPUs compute alike.
        deterministic: False only to measure what determinism costs.

    Returns:
        What the arithmetic runs on.
    """
    home = os.environ.get("KERAS_HOME")
    if home:  # Keras reads it at import, from the working directory.
        os.environ["KERAS_HOME"] = str(anchored(home))
    with quiet():
        import keras
        import tensorflow as tf

        gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)
    details = tf.config.experimental.get_device_details(gpus[0]) if gpus else {}
    capable = details.get("compute_capability", (0, 0)) >= (7, 0)
    if precision == "auto":
        precision = "mixed_float16" if capable else "float32"
    keras.utils.set_random_seed(seed)
    if deterministic:
        tf.config.experimental.enable_op_determinism()
    return Hardware(str(details.get("device_name", "CPU")), cores(), precision, "tensorflow")
