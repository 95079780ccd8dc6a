"""Stage `evaluate`: the image model's scores of `valid` and `test`, and what they amount to."""

from pathlib import Path

import pandas as pd

from deepfake import embedding, evaluation, model, params, rows, runtime, scores, tracking
from deepfake.errors import command
from deepfake.files import read_json, sha256_file

IMAGES, EMBEDDINGS, MODEL = "data/images", "data/embeddings", "data/models/image.keras"


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
        scored = _scored(settings)
        results = evaluation.write("image", scored, settings.evaluate.threshold)
        rows.log_evaluation(run, Path(), settings)
    print(f"image model: test ROC-AUC {results['test']['roc_auc']:.4f}")


def _scored(settings: params.Params) -> dict[str, pd.DataFrame]:
    """The predictions of each split, from the pictures; or, where the network was left as it was
    when they were embedded, from the embeddings, which saves computing them again."""
    trained = model.load(MODEL)
    tuned = read_json("metrics/train.json")["fine_tune"]["kept"]
    if tuned or embedding.description(EMBEDDINGS)["precision"] != "float32":
        score = model.scorer(trained)
        size = settings.evaluate.batch_size
        return {
            split: scores.predictions(*model.score_split(score, IMAGES, split, size))
            for split in evaluation.EVALUATED
        }
    embedded = {s: embedding.Embeddings.open(EMBEDDINGS, s) for s in evaluation.EVALUATED}
    model.check_embeddings(trained, embedded["valid"], IMAGES)
    return {
        split: scores.predictions(
            table.image_ids, table.labels, model.score_embeddings(trained, table)
        )
        for split, table in embedded.items()
    }


if __name__ == "__main__":
    main()
