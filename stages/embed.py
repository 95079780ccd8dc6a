"""Stage `embed`: the frozen backbone's feature statistics, once for every image and view.

Recipes that train on images read no features; for them it writes only which images there are.
"""

from deepfake import params
from deepfake.common import paths
from deepfake.common.files import read_json
from deepfake.common.resume import unfinished
from deepfake.inference import embed
from deepfake.inference.extraction import make_extractor
from deepfake.tracking.run import start_run
from stages.running import resume_key, stage


@stage
def main() -> None:
    settings = params.load()
    if settings.train.recipe == "probe":
        _embed(settings)
        return
    weights = read_json(paths.BACKBONE_SUMMARY)["weights"]
    described = {"weights": weights, "precision": "float32", "dimensions": 0}
    with start_run(settings.tracking, stage="embed", kind="data"):
        embed.write_index(paths.IMAGES, paths.EMBEDDINGS, described)
    print(f"embed: the recipe {settings.train.recipe} reads no embeddings")


def _embed(settings: params.Params) -> None:
    network, chosen = settings.backbone, settings.embed
    backbone = read_json(paths.BACKBONE_SUMMARY)
    with start_run(settings.tracking, stage="embed", kind="data") as run:
        hardware, extract = make_extractor(
            network, chosen, seed=settings.seed, threads=settings.execution.threads
        )
        description = {
            "weights": backbone["weights"],
            "alpha": network.alpha,
            "image_size": network.image_size,
            "layers": chosen.layers,
            "pooling": chosen.pooling,
            "channels": backbone["channels"],
            "scales": chosen.scales,
            "engine": hardware.engine,
            "precision": hardware.precision,
            "dimensions": backbone["dimensions"],
            "views": chosen.views,
        }
        with unfinished("embed", f"{resume_key('embed')}-{hardware.engine}") as work:
            embed.compute(
                paths.IMAGES,
                paths.EMBEDDINGS,
                extract,
                describe=description,
                augment=chosen.augment,
                seed=settings.seed,
                batch_size=chosen.batch_size,
                work=work,
            )
        run.params({"embed": chosen.model_dump(), "backbone": network.model_dump()})
        run.tags(hardware.record())
        run.metrics({"dimensions": backbone["dimensions"]})
        run.files([paths.EMBEDDINGS_SUMMARY])
    print(
        f"embed: {backbone['dimensions']} features per view, {backbone['weights']} weights, "
        f"by {hardware.engine} on {hardware.device}, {hardware.precision}"
    )


if __name__ == "__main__":
    main()
