"""Stage `evaluate`: the image model's scores of `valid` and `test`, and what they amount to."""

from deepfake import evaluation, model, params, runtime, scores, tracking
from deepfake.errors import command
from deepfake.files import sha256_file

IMAGES, MODEL = "data/images", "data/models/image.keras"


@command
def main() -> None:
    settings = params.load()
    runtime.start(seed=settings.seed, precision="float32")
    with tracking.run(
        settings.tracking,
        stage="evaluate",
        kind="model",
        name="image",
        model_sha256=sha256_file(MODEL),
    ) as run:
        run.params({"evaluate": settings.evaluate.model_dump()})
        score = model.scorer(model.load(MODEL))
        scored = {
            split: scores.predictions(
                *model.score_split(score, IMAGES, split, settings.evaluate.batch_size)
            )
            for split in evaluation.EVALUATED
        }
        results = evaluation.write("image", scored, settings.evaluate.threshold)
        evaluation.log(run, "image", results)
    print(f"image model: test ROC-AUC {results['test']['roc_auc']:.4f}")


if __name__ == "__main__":
    main()
