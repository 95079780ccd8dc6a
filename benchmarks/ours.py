"""This project's side of the comparisons that `dvc` cannot time by itself.

    python -m benchmarks.ours embed IMAGES ...       embedding throughput
    python -m benchmarks.ours fine-tune IMAGES ...   fine-tuning, epoch by epoch

IMAGES is a folder of shards, as `ingest` writes them. Each prints its measurements as one line of
JSON, the last on standard output, in the terms of `benchmarks.peer`. Parameters are those of
params.yaml, changed by `-S key=value`.
"""

import argparse
import json
import tempfile
import time
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from deepfake import params
from deepfake.common.labels import SPLITS
from deepfake.data import shards
from deepfake.inference import embed, keras_engine, openvino_engine, openvino_export
from deepfake.models import image_model, mobilenet_v2, pooling, tensorflow_setup
from deepfake.models.head import Head
from deepfake.training import fine_tuning, loop
from tools.verify import change

WARM_UP = 8  # images of each split


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ours", description=__doc__)
    parser.add_argument("what", choices=["embed", "fine-tune"])
    parser.add_argument("images", type=Path)
    parser.add_argument("-S", action="append", default=[], metavar="KEY=VALUE", dest="changes")
    chosen = parser.parse_args()
    settings = changed(chosen.changes)
    with tempfile.TemporaryDirectory() as work:
        measured = {"embed": embedded, "fine-tune": fine_tune}[chosen.what]
        print(json.dumps(measured(chosen.images, settings, Path(work))))


def changed(changes: list[str]) -> params.Params:
    """The parameters of params.yaml with `key=value` changes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "params.yaml"
        path.write_bytes(Path("params.yaml").read_bytes())
        change(path, changes)
        return params.load(path)


def embedded(images: Path, settings: params.Params, work: Path) -> dict[str, Any]:
    """`images` and the `seconds` that their features took, files of results included.

    What `embed.compute` does once in a process (import, weights, compiling) is left out by
    taking the difference to a few images.
    """
    few = work / "few"
    with shards.ShardWriter(few, 256) as writer:
        for split in SPLITS:
            for image_file in islice(shards.image_files(images, split), WARM_UP):
                writer.write(image_file)
    _, less, more = (
        _embed_all(place, settings, work / str(number))
        for number, place in enumerate((few, few, images))
    )
    return {key: more[key] - less[key] for key in ("images", "seconds")}


def _embed_all(images: Path, settings: params.Params, target: Path) -> dict[str, float]:
    """The adapter: all features of the shards in `images`, as the `embed` stage computes them."""
    start = time.perf_counter()
    extract, dimensions = _extractor(settings, target.with_suffix(".xml"))
    embed.compute(
        images,
        target,
        extract,
        describe={
            "benchmark": str(target),  # nothing is taken over from elsewhere
            "views": settings.embed.views,
            "dimensions": dimensions,
        },
        batch_size=settings.embed.batch_size,
        inputs=[],
    )
    seconds = time.perf_counter() - start
    return {"images": sum(shards.count(images, s) for s in SPLITS), "seconds": seconds}


def _extractor(settings: params.Params, path: Path) -> tuple[embed.Extract, int]:
    chosen, network = settings.embed, settings.backbone
    hardware = tensorflow_setup.start(seed=settings.seed, precision=network.precision)
    weights = mobilenet_v2.initial(network.weights, network.alpha)[0]
    if openvino_engine.chosen(chosen.engine, network.precision) == "openvino":
        dimensions = openvino_export.convert(weights, chosen.layers, chosen.statistics, path)
        return openvino(path, settings), dimensions * len(chosen.scales)
    if hardware.precision != "float32":
        saved = path.with_suffix(".weights.h5")
        weights.save_weights(saved)
        weights = mobilenet_v2.load(saved, network.alpha, hardware.precision)
    return keras(weights, settings)


def openvino(path: Path, settings: params.Params, precision: str = "float32") -> embed.Extract:
    """The extractor of the network that `openvino_export.convert` wrote to `path`."""
    return openvino_engine.extractor(
        path,
        image_size=settings.backbone.image_size,
        scales=settings.embed.scales,
        views=settings.embed.views,
        precision=precision,
    )


def keras(weights: Any, settings: params.Params) -> tuple[embed.Extract, int]:
    """The extractor by TensorFlow of a MobileNetV2, and how many features it gives."""
    chosen, size = settings.embed, settings.backbone.image_size
    features = pooling.features(weights, chosen.layers, chosen.statistics, size, chosen.scales)
    extract = keras_engine.keras_extractor(
        features, image_size=size, views=chosen.views, batch_size=chosen.batch_size
    )
    return extract, features.output_shape[-1]


def fine_tune(images: Path, settings: params.Params, work: Path) -> dict[str, Any]:
    """The adapter: `train.fine_tune` on the shards in `images`, from a fresh head.

    Returns:
        `images` of train, `seconds` of each epoch, validation included, and its mean `losses`.
    """
    chosen, network = settings.embed, settings.backbone
    hardware = tensorflow_setup.start(seed=settings.seed, precision=network.precision)
    features = pooling.features(
        mobilenet_v2.initial(network.weights, network.alpha)[0],
        chosen.layers,
        chosen.statistics,
        network.image_size,
        chosen.scales,
    )
    head = image_model.keras_head(Head.untrained(features.output_shape[-1]), 0.0)
    ends, losses = [time.perf_counter()], []

    def on_epoch(row: loop.Row) -> None:
        ends.append(time.perf_counter())
        losses.append(row["train_loss"])

    fine_tuning.fine_tune(
        images,
        features,
        head,
        settings.train,
        statistics=chosen.statistics,
        scales=chosen.scales,
        class_weight=np.ones(2, "float32"),
        image_size=network.image_size,
        views=chosen.views,
        precision=hardware.precision,
        seed=settings.seed,
        start_roc_auc=-1.0,
        work=work,
        on_epoch=on_epoch,
    )
    return {
        "images": shards.count(images, "train"),
        "seconds": np.diff(ends).tolist(),
        "losses": losses,
    }


if __name__ == "__main__":
    main()
