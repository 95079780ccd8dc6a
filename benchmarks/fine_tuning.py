"""Fine-tuning against plain Keras `fit`: `python -m benchmarks.fine_tuning DATA`.

DATA is a folder or a zip with .../{train,valid}/{real,fake}/*.jpg. Both train the same layers of
ImageNet's MobileNetV2 (batch-norm in inference mode and not trained), and a linear head on its
mean-pooled last layer, with Adam, in float32, and validate after each epoch: each way in a process
of its own, in turns. `fit` is fed by `image_dataset_from_directory`, prefetched. On a machine
with other work the ratio in processor time is the steadier one.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from deepfake import params
from deepfake.data import shards
from deepfake.models import image_model, mobilenet_v2, pooling, tensorflow_setup
from deepfake.models.head import Head
from deepfake.training import fine_tuning

CLASSES = ["real", "fake"]  # fake = 1
RATE, CHANNELS = 1e-5, 1280
CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}
LAYERS = ["all", "block_13_expand"]


def image_files(data: Path) -> Iterator[tuple[str, str, str, bytes]]:
    """Split, class, name and bytes of each image of train and valid."""
    if data.is_dir():
        files = {path.relative_to(data): path.read_bytes for path in sorted(data.rglob("*.jpg"))}
    else:
        archive = zipfile.ZipFile(data)
        names = sorted(name for name in archive.namelist() if name.endswith(".jpg"))
        files = {Path(name): partial(archive.read, name) for name in names}
    for path, read in files.items():
        split, kind = path.parts[-3:-1]
        if split in ("train", "valid") and kind in CLASSES:
            yield split, kind, path.name, read()


def prepare(data: Path, place: Path, train: int, valid: int) -> None:
    """The first images of each class, so many of a split in all, as files and as shards."""
    chosen: dict[tuple[str, str], list[tuple[str, bytes]]] = {}
    limits = {"train": train // 2, "valid": valid // 2}
    for split, kind, name, content in image_files(data):
        group = chosen.setdefault((split, kind), [])
        if len(group) < limits[split]:
            group.append((name, content))
            path = place / "files" / split / kind / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    with shards.ShardWriter(place / "shards", 256) as writer:
        for (split, kind), group in sorted(chosen.items(), key=lambda item: item[0][0]):
            for name, content in group:
                label = CLASSES.index(kind)
                writer.write(shards.ImageFile(f"{kind}/{name}", label, split, name, content))


def clocks() -> list[float]:
    return [clock() for clock in CLOCKS.values()]


def fit(place: Path, from_layer: str, size: int, batch: int, epochs: int) -> list[list[float]]:
    """Readings of `CLOCKS` before and after each epoch, validation included, in plain Keras."""
    tensorflow_setup.start(seed=0, precision="float32", deterministic=False)
    import keras
    import tensorflow as tf

    splits = {
        split: keras.utils.image_dataset_from_directory(
            place / "files" / split, label_mode="binary", class_names=CLASSES, seed=0,
            image_size=(size, size), batch_size=batch, shuffle=split == "train", verbose=False,
        ).prefetch(tf.data.AUTOTUNE)
        for split in ("train", "valid")
    }  # fmt: skip
    base = keras.applications.MobileNetV2(
        input_shape=(size, size, 3), include_top=False, pooling="avg", weights="imagenet"
    )
    names = [layer.name for layer in base.layers]
    first = 0 if from_layer == "all" else names.index(from_layer)
    for index, layer in enumerate(base.layers):
        normalises = isinstance(layer, keras.layers.BatchNormalization)
        layer.trainable = index >= first and not normalises
    inputs = keras.Input((size, size, 3))
    scaled = keras.layers.Rescaling(1 / 127.5, -1)(inputs)
    whole = keras.Model(inputs, keras.layers.Dense(1)(base(scaled, training=False)))
    whole.compile(keras.optimizers.Adam(RATE), keras.losses.BinaryCrossentropy(from_logits=True))
    ends = [clocks()]
    each = keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: ends.append(clocks()))
    whole.fit(
        splits["train"],
        validation_data=splits["valid"],
        epochs=epochs,
        callbacks=[each],
        verbose=0,
    )
    return ends


def ours(place: Path, from_layer: str, size: int, batch: int, epochs: int) -> list[list[float]]:
    """As `fit`; what is computed once is in the first epoch."""
    tensorflow_setup.start(seed=0, precision="float32")
    settings = params.load().train
    augment = {name: type(value)(0) for name, value in settings.fine_tune.augment}
    changes: dict[str, Any] = {"from_layer": from_layer, "batch_size": batch, "epochs": epochs}
    changes |= {"patience": epochs, "learning_rate": RATE}
    changes |= {"augment": settings.fine_tune.augment.model_copy(update=augment)}
    tuned = settings.fine_tune.model_copy(update=changes)
    network = mobilenet_v2.initial("imagenet", 1.0)[0]
    features = pooling.features(network, ["out_relu"], ["mean"], size)
    head = image_model.keras_head(Head.untrained(CHANNELS), 0.0)
    ends = [clocks()]
    fine_tuning.fine_tune(
        place / "shards",
        features,
        head,
        settings.model_copy(update={"fine_tune": tuned, "schedule": "constant"}),
        statistics=["mean"],
        scales=[1.0],
        image_size=size,
        views=["original"],
        class_weight=np.ones(2, "f"),
        precision="float32",
        seed=0,
        start_roc_auc=-1.0,
        work=Path(tempfile.mkdtemp(dir=place)),
        on_epoch=lambda row: ends.append(clocks()),
    )
    return ends


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fine_tuning", description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--from-layer", nargs="+", default=LAYERS)
    parser.add_argument("--train", type=int, default=400, help="images")
    parser.add_argument("--valid", type=int, default=80, help="images")
    parser.add_argument("--size", type=int, default=224, help="side in pixels")
    parser.add_argument("--batch", type=int, default=16, help="images")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--only", choices=["fit", "ours"], help="in this process, DATA prepared")
    chosen = parser.parse_args()
    if chosen.only:
        way = {"fit": fit, "ours": ours}[chosen.only]
        (layer,) = chosen.from_layer
        print(json.dumps(way(chosen.data, layer, chosen.size, chosen.batch, chosen.epochs)))
        return
    with tempfile.TemporaryDirectory() as name:
        prepare(chosen.data, Path(name), chosen.train, chosen.valid)
        for layer in chosen.from_layer:
            compare(Path(name), layer, chosen)


def compare(place: Path, layer: str, chosen: Any) -> None:
    """Measure both ways in turns and print medians and ratios."""
    readings: dict[str, list[np.ndarray]] = {"fit": [], "ours": []}  # (epochs, clocks) each
    for _ in range(chosen.repetitions):
        for way, measured in readings.items():
            command = [sys.executable, "-m", "benchmarks.fine_tuning", str(place), "--only", way]
            for key in ("size", "batch", "epochs"):
                command += [f"--{key}", str(getattr(chosen, key))]
            done = subprocess.run(
                [*command, "--from-layer", layer], stdout=subprocess.PIPE, text=True, check=True
            )
            measured.append(np.diff(json.loads(done.stdout.splitlines()[-1]), axis=0))
            rounded = measured[-1][:, 0].round(2).tolist()
            print(f"{layer}, {way}: seconds an epoch {rounded}", flush=True)
    for number, clock in enumerate(CLOCKS):
        for title, start in (("epochs after the first", 1), ("all epochs, caches filled", 0)):
            count = chosen.train * (chosen.epochs - start)
            rates = {
                way: [count / times[start:, number].sum() for times in measured]
                for way, measured in readings.items()
            }
            ratios = [b / a for a, b in zip(rates["fit"], rates["ours"], strict=True)]
            fit_rate, our_rate = (statistics.median(values) for values in rates.values())
            print(
                f"{layer}, {title}: fit {fit_rate:.1f}, ours {our_rate:.1f} images a second of "
                f"{clock} time, {statistics.median(ratios):.2f} times "
                f"({min(ratios):.2f} to {max(ratios):.2f})",
                flush=True,
            )


if __name__ == "__main__":
    main()
