"""What the engines' features are worth, each against TensorFlow's: `make engines`.

For the features of the peer in `make bench` and for the default ones, by TensorFlow in float32 and
by OpenVINO in float32 and in bfloat16 (which a CPU without such units computes as well, slowly):
the least cosine between an image's features and TensorFlow's, and the ROC-AUC of heads trained
and scored on them. Writes `benchmarks/engines.json` and the table in docs/speed.md.
"""

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import harness, images, ours
from benchmarks.bench import LAST_LAYER
from deepfake.common.errors import command
from deepfake.common.files import write_json
from deepfake.common.labels import SPLITS
from deepfake.data import embeddings, shards
from deepfake.evaluation.ranking import roc_auc
from deepfake.inference import embed, keras_engine, openvino_engine, openvino_export
from deepfake.models import mobilenet_v2, pooling, tensorflow_setup
from deepfake.params import Params
from deepfake.training import head_training

RESULTS, PAGE = Path("benchmarks/engines.json"), Path("docs/speed.md")
MODELS = {"the peer's features": LAST_LAYER, "covariances of 6 layers": []}
REFERENCE = "TensorFlow float32"
Features = dict[str, np.ndarray]  # by split


def extractors(settings: Params, work: Path) -> Iterator[tuple[str, embed.Extract]]:
    """Each engine with its name, TensorFlow first."""
    chosen, network = settings.embed, settings.backbone
    size, views = network.image_size, chosen.views
    weights = mobilenet_v2.initial(network.weights, network.alpha)[0]
    features = pooling.features(weights, chosen.layers, chosen.statistics, size, chosen.scales)
    yield (
        REFERENCE,
        keras_engine.extractor(
            features, image_size=size, views=views, batch_size=chosen.batch_size
        ),
    )
    for name, precision in (("float32", "float32"), ("bfloat16", "mixed_bfloat16")):
        compiled = ours.openvino_network(settings, work / "features.xml", precision)
        extract = openvino_engine.extractor(compiled, image_size=size, views=views)
        yield f"OpenVINO {name}", extract


def worth(
    found: Features,
    reference: Features,
    labels: Features,
    settings: Params,
    channels: Sequence[int],
    seeds: int,
) -> dict[str, Any]:
    """`cosine`, the least of an image, and the ROC-AUC of `valid` and `test`, the mean over heads
    trained with different seeds."""
    cosine = min(openvino_export.least_cosine(found[split], reference[split]) for split in SPLITS)
    train, valid = (
        embeddings.Embeddings(labels[split], found[split]) for split in ("train", "valid")
    )
    reached: dict[str, list[float]] = {"valid": [], "test": []}
    for seed in range(seeds):
        with tempfile.TemporaryDirectory() as work:
            trained = head_training.train_head(
                train,
                valid,
                settings.train,
                channels=channels,
                seed=seed,
                work=Path(work),
                on_epoch=lambda row: None,
            )
        for split, values in reached.items():
            values.append(roc_auc(labels[split], trained.head.scores(found[split])))
    return {"cosine": cosine, **{split: float(np.mean(v)) for split, v in reached.items()}}


def _channels(settings: Params) -> list[int]:
    """Of each block of covariance features; none for other features."""
    network, chosen = settings.backbone, settings.embed
    if chosen.pooling != "covariance":
        return []
    layers = [
        mobilenet_v2.shape(name, network.alpha, network.image_size)[1] for name in chosen.layers
    ]
    return layers * len(chosen.scales)


def table(models: dict[str, dict[str, dict[str, float]]]) -> str:
    """The results as Markdown."""
    lines = [
        "| features | engine | least cosine | ROC-AUC valid | ROC-AUC test |",
        "|---|---|---:|---:|---:|",
    ]
    lines += [
        f"| {model} | {name} | {row['cosine']:.6f} | {row['valid']:.4f} | {row['test']:.4f} |"
        for model, rows in models.items()
        for name, row in rows.items()
    ]
    return "\n".join(lines)


@command
def main() -> None:
    parser = argparse.ArgumentParser(prog="make engines", description=__doc__)
    parser.add_argument("--data", type=Path, help="a zip or folder of images (none: the sample)")
    parser.add_argument("--weights", choices=["imagenet", "random"], default="imagenet")
    parser.add_argument("--seeds", type=int, default=5, help="heads trained on each")
    chosen = parser.parse_args()
    tensorflow_setup.start(seed=0, precision="float32")
    models: dict[str, dict[str, dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        packed = Path(folder) / "shards"
        images.pack(images.settings(chosen.data), packed)
        labels = {
            s: np.array([p.label for p in shards.image_files(packed, s)], "i1") for s in SPLITS
        }
        for model, changes in MODELS.items():
            settings = ours.changed([*changes, f"backbone.weights={chosen.weights}"])
            models[model], reference = {}, None
            for name, extract in extractors(settings, Path(folder)):
                found = {s: np.stack([*extract(shards.image_files(packed, s))]) for s in SPLITS}
                reference = found if reference is None else reference
                channels = _channels(settings)
                row = worth(found, reference, labels, settings, channels, chosen.seeds)
                models[model][name] = row
                print(f"{model}, {name}: {row}", flush=True)
    facts = {"machine": harness.machine(), "weights": chosen.weights, "seeds": chosen.seeds}
    counts = {split: len(values) for split, values in labels.items()}
    write_json(RESULTS, {**facts, "images": counts, "models": models})
    harness.put(PAGE, "engines", table(models))


if __name__ == "__main__":
    main()
