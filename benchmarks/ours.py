"""This project's side of the comparisons that `dvc` cannot time by itself.

    python -m benchmarks.ours embed IMAGES ...       embedding, and its engine's limit
    python -m benchmarks.ours fine-tune IMAGES ...   fine-tuning, epoch by epoch

IMAGES is a folder of shards, as `ingest` writes them. Each prints its measurements as one line of
JSON, the last on standard output, in the terms of `benchmarks.peer`. Parameters are those of
params.yaml, changed by `-S key=value`.
"""

import argparse
import json
import tempfile
import time
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import numpy as np

from deepfake import params
from deepfake.common.labels import SPLITS
from deepfake.common.threads import ordered
from deepfake.data import shards
from deepfake.inference import openvino_engine, openvino_export
from deepfake.inference.network import Network
from deepfake.models import image_model, mobilenet_v2, pooling, tensorflow_setup
from deepfake.models.head import Head
from deepfake.training import fine_tuning, loop
from tools.clones import change

CHUNK = 40  # images


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
    """Embedding as the stage does it, reading and decoding included, against its engine's limit.

    The limit is the same compiled network, fed by the same threads with an image in memory. Both
    are measured in turns, `CHUNK` images at a time. Start-up and compiling are left out.

    Returns:
        `images`, the `seconds` of the stage's loop, and `limit_seconds` for as many images.
    """
    network = openvino_network(settings, work / "features.xml")
    size, views = settings.backbone.image_size, settings.embed.views
    extract = openvino_engine.extractor(network, image_size=size, views=views)
    pixels = np.random.default_rng(0).uniform(0, 255, (size, size, 3)).astype("float32")
    stream = chain.from_iterable(shards.image_files(images, split) for split in SPLITS)
    count, seconds, limit_seconds = 0, 0.0, 0.0
    for number, chunk in enumerate(shards.batches(stream, CHUNK)):
        start = time.perf_counter()
        for _ in extract(iter(chunk)):
            pass
        middle = time.perf_counter()
        fed = repeat([pixels] * len(views), len(chunk))
        for _ in ordered(network, fed, network.threads):
            pass
        if number:  # the first warms up
            count += len(chunk)
            seconds += middle - start
            limit_seconds += time.perf_counter() - middle
    return {"images": count, "seconds": seconds, "limit_seconds": limit_seconds}


def openvino_network(settings: params.Params, path: Path, precision: str = "float32") -> Network:
    """Export the feature network to `path` and compile it."""
    chosen, backbone = settings.embed, settings.backbone
    tensorflow_setup.start(seed=settings.seed, precision="float32")
    network = mobilenet_v2.initial(backbone.weights, backbone.alpha)[0]
    features = pooling.features(network, chosen.layers, chosen.statistics, None)
    openvino_export.export(features, path)
    sizes = [round(scale * backbone.image_size) for scale in chosen.scales]
    return Network(path, sizes, precision)


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
        weight_decay=settings.train.penalty or 0.0,
        image_size=network.image_size,
        views=chosen.views,
        precision=hardware.precision,
        seed=settings.seed,
        start_roc_auc=-1.0,
        work=work,
        cache_megabytes=settings.execution.cache_megabytes,
        on_epoch=on_epoch,
    )
    return {
        "images": shards.count(images, "train"),
        "seconds": np.diff(ends).tolist(),
        "losses": losses,
    }


if __name__ == "__main__":
    main()
