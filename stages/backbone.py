"""Stage `backbone`: MobileNetV2 as files, and what is read off it, so that what follows can be
rebuilt from them and need not start TensorFlow.

Where ImageNet's weights come from the network or Keras's cache, later stages depend on their bytes
and need neither.
"""

from pathlib import Path
from typing import Any

from deepfake import params
from deepfake.common.errors import command
from deepfake.common.files import replacing, sha256_file, write_json
from deepfake.inference import openvino_export
from deepfake.models import image_model, mobilenet_v2, pooling, tensorflow_setup
from deepfake.tracking.run import start_run

WEIGHTS = Path("data/backbone/mobilenet_v2.weights.h5")
FEATURES = Path("data/backbone/features.xml")  # OpenVINO's, with features.bin
UNTRAINED = Path("data/backbone/untrained.keras")  # the image model but for its head


@command
def main() -> None:
    settings = params.load()
    wanted = settings.backbone.weights
    with start_run(settings.tracking, stage="backbone", kind="data") as run:
        tensorflow_setup.start(seed=settings.seed, precision="float32")
        network, weights = mobilenet_v2.initial(wanted, settings.backbone.alpha)
        with replacing(WEIGHTS) as partial:
            network.save_weights(partial)
        facts = {
            "weights": weights,
            "alpha": settings.backbone.alpha,
            "parameters": network.count_params(),
            "sha256": sha256_file(WEIGHTS),
            **_write_features(network, settings),
        }
        write_json("metrics/backbone.json", facts)
        used = settings.backbone.model_dump(include={"weights", "alpha", "image_size"})
        run.params({"backbone": used, "embed": settings.embed.model_dump(exclude={"engine"})})
        run.tags({"weights": weights})
        run.metrics({"engine_agreement": facts["engine_agreement"]})
        run.files(["metrics/backbone.json"])
    print(f"backbone: {weights} weights" + _note(wanted, weights))


def _write_features(network: Any, settings: params.Params) -> dict[str, Any]:
    """Write the features for both engines; returns their number, and how well the two agree."""
    chosen, size = settings.embed, settings.backbone.image_size
    openvino_export.convert(network, chosen.layers, chosen.statistics, FEATURES)
    features = pooling.features(network, chosen.layers, chosen.statistics, size, chosen.scales)
    dimensions = features.output_shape[-1]
    image_model.save(image_model.untrained(features, dimensions, chosen.views, size), UNTRAINED)
    of_any_size = pooling.features(network, chosen.layers, chosen.statistics, None)
    agreement = openvino_export.agreement(of_any_size, FEATURES, settings.seed)
    return {"dimensions": dimensions, "engine_agreement": agreement}


def _note(wanted: str, weights: str) -> str:
    if wanted == "auto" and weights == "random":
        return (
            " (backbone.weights is auto, and ImageNet's are neither in Keras's cache nor could be "
            "downloaded: on photographs the image model will be weaker than it could be)"
        )
    return ""


if __name__ == "__main__":
    main()
