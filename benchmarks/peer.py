"""The peer: what one would write in plain Keras, well, and nothing of this project.

    python -m benchmarks.peer recipe FOLDER    from images to test scores, the usual way
    python -m benchmarks.peer predict FOLDER   embedding: `predict` over all images of a folder
    python -m benchmarks.peer fit FOLDER       fine-tuning: `fit` on train, validated on valid

FOLDER has {train,valid,test}/{real,fake}/ with image files. Each prints its measurements as one
line of JSON, the last on standard output. Input comes from `image_dataset_from_directory`, which
reads and decodes in parallel (AUTOTUNE), and is prefetched. It is not kept between epochs
(`cache()`): the data set that this is about would take 84 GB as pixels, and reading again is what
the recipe does everywhere; `--cache` shows what it would change.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

CLASSES = ["real", "fake"]  # fake = 1
RECIPE_SIZE, RECIPE_BATCH, RECIPE_HIDDEN, RECIPE_RATE = 224, 32, 128, 1e-3


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peer", description=__doc__)
    parser.add_argument("what", choices=["recipe", "predict", "fit"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--weights", choices=["imagenet", "random"], default="imagenet")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--cache", action="store_true", help="recipe: keep decoded images")
    parser.add_argument("--size", type=int, default=224, help="predict, fit: side in pixels")
    parser.add_argument("--batch", type=int, default=32, help="predict, fit: images")
    parser.add_argument("--from-layer", default="all", help="fit: the first layer trained")
    parser.add_argument("--rate", type=float, default=1e-5, help="fit: learning rate")
    chosen = parser.parse_args()
    if chosen.what == "recipe":
        result = recipe(chosen.folder, chosen.weights, chosen.epochs, chosen.cache)
    elif chosen.what == "predict":
        result = predict(chosen.folder, chosen.weights, chosen.size, chosen.batch)
    else:
        result = fit(
            chosen.folder,
            chosen.weights,
            size=chosen.size,
            batch=chosen.batch,
            epochs=chosen.epochs,
            from_layer=chosen.from_layer,
            rate=chosen.rate,
        )
    print(json.dumps(result))


def recipe(folder: Path, weights: str, epochs: int, cache: bool = False) -> dict[str, Any]:
    """A Dense head on the frozen network's mean-pooled last layer, pixels in [0, 1]; returns
    `roc_auc` and `accuracy` on test."""
    import keras
    import tensorflow as tf
    from sklearn.metrics import accuracy_score, roc_auc_score

    keras.utils.set_random_seed(0)
    train, valid, test = (
        image_files(folder / split, RECIPE_SIZE, RECIPE_BATCH, shuffled=split == "train")
        for split in ("train", "valid", "test")
    )
    labels = np.array([CLASSES.index(Path(path).parent.name) for path in test.file_paths])
    if cache:
        train, valid = train.cache(), valid.cache()
    base = mobilenet(weights, RECIPE_SIZE)
    base.trainable = False
    model = keras.Sequential(
        [
            keras.layers.Rescaling(1 / 255),
            base,
            keras.layers.Dense(RECIPE_HIDDEN, activation="relu"),
            keras.layers.Dense(1, activation="sigmoid"),
        ]
    )
    model.compile(keras.optimizers.Adam(RECIPE_RATE), "binary_crossentropy", metrics=["accuracy"])
    model.fit(
        train.prefetch(tf.data.AUTOTUNE),
        validation_data=valid.prefetch(tf.data.AUTOTUNE),
        epochs=epochs,
        verbose=0,
    )
    scores = model.predict(test.prefetch(tf.data.AUTOTUNE), verbose=0)[:, 0]
    return {
        "roc_auc": float(roc_auc_score(labels, scores)),
        "accuracy": float(accuracy_score(labels, scores >= 0.5)),
    }


def predict(folder: Path, weights: str, size: int, batch: int) -> dict[str, Any]:
    """The network's mean-pooled last layer of every image below `folder`: `images` and the
    `seconds` that they took, once the first batch had compiled everything."""
    import keras
    import tensorflow as tf

    found = keras.utils.image_dataset_from_directory(
        folder, labels=None, image_size=(size, size), batch_size=batch, shuffle=False, verbose=False
    ).prefetch(tf.data.AUTOTUNE)
    model = keras.Sequential([keras.layers.Rescaling(1 / 127.5, -1), mobilenet(weights, size)])
    model.predict(found.take(1), verbose=0)
    start = time.perf_counter()
    features = model.predict(found, verbose=0)
    return {"images": len(features), "seconds": time.perf_counter() - start}


def fit(
    folder: Path, weights: str, *, size: int, batch: int, epochs: int, from_layer: str, rate: float
) -> dict[str, Any]:
    """Fine-tuning from `from_layer` (`all`: everything) with a linear head, in float32.

    Batch-norm is in inference mode and not trained, as Keras's guide to transfer learning has it.

    Returns:
        `images` of train, `seconds` of each epoch, validation included, and its mean `losses`.
    """
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(0)
    train = image_files(folder / "train", size, batch, shuffled=True)
    valid = image_files(folder / "valid", size, batch, shuffled=False)
    count = len(train.file_paths)
    base = mobilenet(weights, size)
    first = 0 if from_layer == "all" else [layer.name for layer in base.layers].index(from_layer)
    for index, layer in enumerate(base.layers):
        normalises = isinstance(layer, keras.layers.BatchNormalization)
        layer.trainable = index >= first and not normalises
    inputs = keras.Input((size, size, 3))
    x = keras.layers.Rescaling(1 / 127.5, -1)(inputs)
    x = base(x, training=False)
    model = keras.Model(inputs, keras.layers.Dense(1)(x))
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(rate), loss)
    ends = [time.perf_counter()]
    each = keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: ends.append(time.perf_counter()))
    history = model.fit(
        train.prefetch(tf.data.AUTOTUNE),
        validation_data=valid.prefetch(tf.data.AUTOTUNE),
        epochs=epochs,
        callbacks=[each],
        verbose=0,
    )
    return {
        "images": count,
        "seconds": np.diff(ends).tolist(),
        "losses": history.history["loss"],
    }


def image_files(folder: Path, size: int, batch: int, *, shuffled: bool) -> Any:
    """Batches of float32 pixels in [0, 255], resized to a square, with labels (fake = 1)."""
    import keras

    return keras.utils.image_dataset_from_directory(
        folder,
        label_mode="binary",
        class_names=CLASSES,
        image_size=(size, size),
        batch_size=batch,
        shuffle=shuffled,
        seed=0,
        verbose=False,
    )


def mobilenet(weights: str, size: int) -> Any:
    """Keras's MobileNetV2 without its classifier, mean-pooled, for pixels scaled already."""
    import keras

    return keras.applications.MobileNetV2(
        input_shape=(size, size, 3),
        include_top=False,
        pooling="avg",
        weights="imagenet" if weights == "imagenet" else None,
    )


if __name__ == "__main__":
    main()
