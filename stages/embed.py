"""Stage `embed`: the frozen network's feature statistics, once for every picture and view."""

from pathlib import Path

from deepfake import SPLITS, dataset, embedding, params, runtime, tracking
from deepfake.errors import command
from deepfake.files import read_json, write_json

IMAGES, EMBEDDINGS = "data/images", "data/embeddings"
WEIGHTS = Path("data/backbone/mobilenet_v2.weights.h5")
FEATURES = Path("data/backbone/features.xml")


@command
def main() -> None:
    settings = params.load()
    made = read_json("metrics/backbone.json")
    chosen, network = settings.embed, settings.backbone
    with tracking.run(settings.tracking, stage="embed", kind="data") as run:
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
        files = [WEIGHTS, FEATURES, *(path for s in SPLITS for path in dataset.shards(IMAGES, s))]
        embedding.compute(
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


def _engine(settings: params.Params) -> tuple[runtime.Hardware, embedding.Extract]:
    """What computes the features, and the function that does."""
    from deepfake import engine

    chosen, network = settings.embed, settings.backbone
    if engine.chosen(chosen.engine, network.precision) == "openvino":
        precision = "float32" if network.precision == "auto" else network.precision
        hardware = runtime.Hardware("CPU", runtime.cores(), precision, "openvino")
        return hardware, engine.extractor(
            FEATURES,
            image_size=network.image_size,
            scales=chosen.scales,
            views=chosen.views,
            precision=precision,
        )
    from deepfake import backbone

    hardware = runtime.start(seed=settings.seed, precision=network.precision)
    return hardware, embedding.keras_extractor(
        backbone.saved_features(WEIGHTS, network, chosen, hardware.precision),
        image_size=network.image_size,
        views=chosen.views,
        batch_size=chosen.batch_size,
    )


if __name__ == "__main__":
    main()
