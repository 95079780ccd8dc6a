"""Stage `embed`: the frozen network's feature statistics, once for every picture and view."""

from pathlib import Path

from deepfake import SPLITS, backbone, dataset, embedding, params, runtime, tracking
from deepfake.errors import command
from deepfake.files import read_json, write_json

IMAGES, EMBEDDINGS, WEIGHTS = (
    "data/images",
    "data/embeddings",
    "data/backbone/mobilenet_v2.weights.h5",
)


@command
def main() -> None:
    settings = params.load()
    chosen, network = settings.embed, settings.backbone
    hardware = runtime.start(seed=settings.seed, precision=network.precision)
    facts = {
        "weights": read_json("metrics/backbone.json")["weights"],
        "alpha": network.alpha,
        "image_size": network.image_size,
        "layers": chosen.layers,
        "statistics": chosen.statistics,
        "scales": chosen.scales,
        "precision": hardware.precision,
    }
    with tracking.run(settings.tracking, stage="embed", kind="data") as run:
        run.params({"embed": chosen.model_dump(), "backbone": network.model_dump()})
        run.tags(hardware.record())
        model = backbone.load(WEIGHTS, network.alpha, hardware.precision)
        description = embedding.compute(
            IMAGES,
            EMBEDDINGS,
            backbone.features(
                model, chosen.layers, chosen.statistics, network.image_size, chosen.scales
            ),
            image_size=network.image_size,
            views=chosen.views,
            batch_size=chosen.batch_size,
            describe=facts,
            inputs=[Path(WEIGHTS), *(path for s in SPLITS for path in dataset.shards(IMAGES, s))],
        )
        write_json("metrics/embed.json", {"dimensions": description["dimensions"], **facts})
        run.metrics({"dimensions": description["dimensions"]})
        run.files(["metrics/embed.json"])
    print(f"embed: {description['dimensions']} features a view, {facts['weights']} weights")


if __name__ == "__main__":
    main()
