"""Stage `backbone`: MobileNetV2's weights as a file, so that what follows can be rebuilt from it.

Where ImageNet's come from the network or Keras's cache, later stages depend on their bytes and
need neither.
"""

from deepfake import backbone, params, runtime, tracking
from deepfake.errors import command
from deepfake.files import replacing, sha256_file, write_json

WEIGHTS = "data/backbone/mobilenet_v2.weights.h5"


@command
def main() -> None:
    settings = params.load()
    runtime.start(seed=settings.seed, precision="float32")
    wanted = settings.backbone.weights
    with tracking.run(settings.tracking, stage="backbone", kind="data") as run:
        model, weights = backbone.initial(wanted, settings.backbone.alpha)
        with replacing(WEIGHTS) as partial:
            model.save_weights(partial)
        facts = {
            "weights": weights,
            "alpha": settings.backbone.alpha,
            "parameters": model.count_params(),
            "sha256": sha256_file(WEIGHTS),
        }
        write_json("metrics/backbone.json", facts)
        run.params({"backbone": {"weights": wanted, "alpha": settings.backbone.alpha}})
        run.tags({"weights": weights})
        run.files(["metrics/backbone.json"])
    print(f"backbone: {weights} weights" + _note(wanted, weights))


def _note(wanted: str, weights: str) -> str:
    if wanted == "auto" and weights == "random":
        return (
            " (backbone.weights is auto, and ImageNet's are neither in Keras's cache nor could be "
            "downloaded: on photographs the image model will be weaker than it could be)"
        )
    return ""


if __name__ == "__main__":
    main()
