"""Stage `backbone`: the backbone as files, so that later stages need not start TensorFlow.

ImageNet weights come from Keras's cache or the network; later stages need neither. The recipe
`transfer` reads no features, and `cnn` has no backbone.
"""

from typing import Any

from deepfake import params
from deepfake.common import paths
from deepfake.common.files import replacing, sha256_file, write_json
from deepfake.inference import openvino_export
from deepfake.models import image_model, pooling, registry, tensorflow_setup
from deepfake.tracking.run import start_run
from stages.running import stage


@stage
def main() -> None:
    settings = params.load()
    wanted, recipe = settings.backbone.weights, settings.train.recipe
    with start_run(settings.tracking, stage="backbone", kind="data") as run:
        summary = {"weights": "none"} if recipe == "cnn" else _write(settings)
        write_json(paths.BACKBONE_SUMMARY, summary)
        used = settings.backbone.model_dump(include={"name", "weights", "alpha", "image_size"})
        run.params({"backbone": used, "embed": settings.embed.model_dump(exclude={"engine"})})
        run.tags({"weights": summary["weights"]})
        if "engine_agreement" in summary:
            run.metrics({"engine_agreement": summary["engine_agreement"]})
        run.files([paths.BACKBONE_SUMMARY])
    if recipe == "cnn":
        print("backbone: the recipe cnn has none")
    else:
        print(f"backbone: {summary['weights']} weights{_note(wanted, summary['weights'])}")


def _write(settings: params.Params) -> dict[str, Any]:
    """Write the files of the backbone that the recipe reads; return the summary."""
    tensorflow_setup.start(seed=settings.seed, precision="float32")
    network, weights = registry.initial(settings.backbone)
    with replacing(paths.BACKBONE_WEIGHTS) as partial:
        network.save_weights(partial)
    features = _write_features(network, settings) if settings.train.recipe == "probe" else {}
    return {
        "name": settings.backbone.name,
        "weights": weights,
        "alpha": settings.backbone.alpha,
        "parameters": network.count_params(),
        "sha256": sha256_file(paths.BACKBONE_WEIGHTS),
        **features,
    }


def _write_features(network: Any, settings: params.Params) -> dict[str, Any]:
    """Write the feature network for OpenVINO and the template of the image model."""
    chosen, size = settings.embed, settings.backbone.image_size
    of_any_size = pooling.features(network, chosen.layers, chosen.statistics, None)
    openvino_export.export(of_any_size, paths.FEATURE_NETWORK)
    agreement = openvino_export.agreement(of_any_size, paths.FEATURE_NETWORK, settings.seed)
    features = pooling.features(network, chosen.layers, chosen.statistics, size, chosen.scales)
    dimensions = features.output_shape[-1]
    template = image_model.template(features, dimensions, chosen.views, size)
    image_model.save(template, paths.MODEL_TEMPLATE)
    trunk = features.get_layer(network.name)
    channels = [output.shape[-1] for output in trunk.outputs] * len(chosen.scales)
    return {"dimensions": dimensions, "channels": channels, "engine_agreement": agreement}


def _note(wanted: str, weights: str) -> str:
    if wanted == "auto" and weights == "random":
        return (
            " (backbone.weights is auto, and ImageNet's weights are not in Keras's cache and could "
            "not be downloaded: the image model will be weaker on photographs)"
        )
    return ""


if __name__ == "__main__":
    main()
