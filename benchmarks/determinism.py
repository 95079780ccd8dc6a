"""What deterministic operations cost: `python -m benchmarks.determinism`.

The fine-tuning step (default layers, batch of 16, images of 256 pixels, random weights), with and
without TensorFlow's op determinism, each in a process of its own, in turns.
"""

import argparse
import statistics
import subprocess
import sys
import time

import numpy as np

from deepfake import params
from deepfake.models import image_model, mobilenet_v2, pooling, tensorflow_setup
from deepfake.models.head import Head
from deepfake.training import fine_tuning, frozen_prefix
from deepfake.training.activation_cache import FrozenLayers

BATCH, SIZE, WARM_UP, STEPS = 16, 256, 3, 10


def seconds_per_step(deterministic: bool) -> float:
    """The median time of a training step in this process."""
    settings = params.load()
    tensorflow_setup.start(seed=settings.seed, precision="float32", deterministic=deterministic)
    network = mobilenet_v2.initial("random", 1.0)[0]
    features = pooling.features(network, settings.embed.layers, settings.embed.statistics, SIZE)
    dimensions = features.output_shape[-1]
    head = image_model.keras_head(Head.untrained(dimensions), 0.0)
    from_layer = settings.train.fine_tune.from_layer
    variables = frozen_prefix.freeze_before(features.get_layer("mobilenet_v2"), from_layer)
    variables += head.trainable_variables
    optimizer = fine_tuning.adam(1e-5, "float32", variables)
    parts = frozen_prefix.split(
        features,
        from_layer,
        statistics=settings.embed.statistics,
        image_size=SIZE,
        scales=[1.0],
    )
    frozen = FrozenLayers(parts.frozen)
    step = fine_tuning.training_step(
        parts, head, optimizer, variables, np.ones(2, "f"), settings.train.penalty or 0.0
    )
    rng = np.random.default_rng(0)
    images = list(rng.integers(0, 256, (BATCH, SIZE, SIZE, 3), dtype="uint8"))
    labels = (np.arange(BATCH) % 2).astype("float32")
    times = []
    for _ in range(WARM_UP + STEPS):
        start = time.perf_counter()
        step(frozen(images, ["original"], [0] * BATCH), labels).numpy()
        times.append(time.perf_counter() - start)
    return statistics.median(times[WARM_UP:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=["with", "without"], help="measure in this process")
    parser.add_argument("--repetitions", type=int, default=5)
    arguments = parser.parse_args()
    if arguments.only:
        print(seconds_per_step(arguments.only == "with"))
        return
    times: dict[str, list[float]] = {"with": [], "without": []}
    for _ in range(arguments.repetitions):
        for way, measured in times.items():
            command = [sys.executable, "-m", "benchmarks.determinism", "--only", way]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            measured.append(float(done.stdout.split()[-1]))
            print(f"{way:8} {measured[-1] * 1000:.0f} ms a step", flush=True)
    pairs = zip(times["with"], times["without"], strict=True)
    ratios = [a / b for a, b in pairs]
    print(
        f"with determinism a step takes {statistics.median(ratios):.3f} times as long "
        f"(pairs: {min(ratios):.3f} to {max(ratios):.3f})"
    )


if __name__ == "__main__":
    main()
