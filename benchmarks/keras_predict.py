"""Scores of a folder of JPEGs of one size by Keras's `predict`: the peer of `deepfake predict`."""

import argparse
import time
from pathlib import Path
from typing import Any

BATCH = 32


def dataset(files: list[str]) -> Any:
    """Batches of decoded images, read and decoded by all processors ahead of time."""
    import tensorflow as tf

    def decoded(path: Any) -> Any:
        return tf.io.decode_jpeg(tf.io.read_file(path), channels=3)

    paths = tf.data.Dataset.from_tensor_slices(files)
    return paths.map(decoded, tf.data.AUTOTUNE).batch(BATCH).prefetch(tf.data.AUTOTUNE)


def main() -> None:
    """Print the images per second, without what the first batch takes, in which Keras compiles."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="a .keras file that takes uint8 pixels")
    parser.add_argument("folder", type=Path)
    chosen = parser.parse_args()
    import keras

    model = keras.models.load_model(chosen.model)
    files = sorted(map(str, chosen.folder.glob("*.jpg")))
    model.predict(dataset(files[:BATCH]), verbose=0)
    start = time.perf_counter()
    scores = model.predict(dataset(files), verbose=0)
    assert len(scores) == len(files)
    print(len(files) / (time.perf_counter() - start))


if __name__ == "__main__":
    main()
