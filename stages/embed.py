"""Stage `embed`: the frozen network's feature statistics, once for every image and view."""

from pathlib import Path

from deepfake import params
from deepfake.common import environment
from deepfake.common.errors import command
from deepfake.common.files import read_json, write_json
from deepfake.common.labels import SPLITS
from deepfake.data import shards
from deepfake.inference import embed, keras_engine
from deepfake.models import tensorflow_setup
from deepfake.tracking.run import start_run

IMAGES, EMBEDDINGS = "data/images", "data/embeddings"
WEIGHTS = Path("data/backbone/mobilenet_v2.weights.h5")
FEATURES = Path("data/backbone/features.xml")


@command
def main() -> None:
    settings = params.load()
    made = read_json("metrics/backbone.json")
    chosen, network = settings.embed, settings.backbone
    with start_run(settings.tracking, stage="embed", kind="data") as run:
        hardware, extract = _engine(settings)
        facts = {
            "weights": made["weights"],
            "alpha": network.alpha,
            "image_size": network.image_size,
            "layers": chosen.layers,
            "statistics": chosen.statistics,
            "scales": chosen.scales,
            "engine": hardware.engine,
            "precision": hardware.precision,
            "dimensions": made["dimensions"],
        }
        run.params({"embed": chosen.model_dump(), "backbone": network.model_dump()})
        run.tags(hardware.record())
        files = [WEIGHTS, FEATURES, *(path for s in SPLITS for path in shards.shards(IMAGES, s))]
        embed.compute(
            IMAGES,
            EMBEDDINGS,
            extract,
            describe={**facts, "views": chosen.views},
            batch_size=chosen.batch_size,
            inputs=files,
        )
        write_json("metrics/embed.json", facts)
        run.metrics({"dimensions": facts["dimensions"]})
        run.files(["metrics/embed.json"])
    print(
        f"embed: {facts['dimensions']} features a view, {facts['weights']} weights, "
        f"by {hardware.engine} on {hardware.device}, {hardware.precision}"
    )


def _engine(settings: params.Params) -> tuple[tensorflow_setup.Hardware, embed.Extract]:
    """What computes the features, and the function that does."""
    from deepfake.inference import openvino_engine

    chosen, network = settings.embed, settings.backbone
    if openvino_engine.chosen(chosen.engine, network.precision) == "openvino":
        precision = "float32" if network.precision == "auto" else network.precision
        hardware = tensorflow_setup.Hardware("CPU", environment.cores(), precision, "openvino")
        return hardware, openvino_engine.extractor(
            FEATURES,
            image_size=network.image_size,
            scales=chosen.scales,
            views=chosen.views,
            precision=precision,
        )
    from deepfake.models import pooling

    hardware = tensorflow_setup.start(seed=settings.seed, precision=network.precision)
    return hardware, keras_engine.keras_extractor(
        pooling.saved_features(WEIGHTS, network, chosen, hardware.precision),
        image_size=network.image_size,
        views=chosen.views,
        batch_size=chosen.batch_size,
    )


if __name__ == "__main__":
    main()
