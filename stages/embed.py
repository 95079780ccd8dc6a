"""Stage `embed`: the frozen backbone's feature statistics, once for every image and view.

Recipes that train on images read no features; for them it writes only which images there are.
"""

from contextlib import ExitStack
from typing import Any

from deepfake import params
from deepfake.common import paths
from deepfake.common.cluster import Cluster, connected
from deepfake.common.environment import Hardware
from deepfake.common.files import read_json
from deepfake.common.resume import unfinished
from deepfake.inference import embed, ray_engine
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
    with start_run(settings.tracking, stage="embed", kind="data") as run, ExitStack() as stack:
        if settings.execution.executor == "ray":
            ray = settings.execution.ray
            cluster = stack.enter_context(
                connected(ray.cpus_per_task, ray.gpus_per_task, ray.tasks)
            )
            hardware, computed = _on_cluster(settings, cluster)
        else:
            cluster, (hardware, computed) = None, _here(settings)
        description = _description(settings, hardware)
        key = f"{resume_key('embed')}-{hardware.engine}-{hardware.precision}"
        with unfinished("embed", key) as work:
            embed.compute(
                paths.IMAGES,
                paths.EMBEDDINGS,
                computed,
                describe=description,
                augment=settings.embed.augment,
                batch_size=settings.embed.batch_size,
                work=work,
            )
        run.params(
            {"embed": settings.embed.model_dump(), "backbone": settings.backbone.model_dump()}
        )
        run.tags(hardware.record())
        if cluster:
            run.tags({"ray_nodes": len(cluster.used), "ray_nodes_lost": cluster.lost()})
            print(f"embed: {cluster.summary()}")
        run.metrics({"dimensions": description["dimensions"]})
        run.files([paths.EMBEDDINGS_SUMMARY])
    print(
        f"embed: {description['dimensions']} features per view, {description['weights']} weights, "
        f"by {hardware.engine} on {hardware.device}, {hardware.precision}"
    )


def _here(settings: params.Params) -> tuple[Hardware, embed.Compute]:
    hardware, extract = make_extractor(
        settings.backbone,
        settings.embed,
        seed=settings.seed,
        threads=settings.execution.threads,
    )
    return hardware, embed.here(paths.IMAGES, extract, settings.seed)


def _on_cluster(settings: params.Params, cluster: Cluster) -> tuple[Hardware, embed.Compute]:
    print(f"embed: on a Ray cluster, {cluster.size()}", flush=True)
    work, batch_size = ray_engine.Work.of(settings), settings.execution.ray.batch_size
    return ray_engine.on_cluster(cluster, work, paths.IMAGES, batch_size)


def _description(settings: params.Params, hardware: Hardware) -> dict[str, Any]:
    """What the embeddings are."""
    backbone = read_json(paths.BACKBONE_SUMMARY)
    network, chosen = settings.backbone, settings.embed
    return {
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


if __name__ == "__main__":
    main()
