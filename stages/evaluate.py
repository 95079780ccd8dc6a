"""Stage `evaluate`: the image model's scores of `valid` and `test`, and what they amount to."""

from pathlib import Path

import pandas as pd

from deepfake import beside, embedding, evaluation, keras_file, params, rows, scores, tracking
from deepfake.errors import command
from deepfake.files import read_json, sha256_file

IMAGES, EMBEDDINGS, MODEL = "data/images", "data/embeddings", "data/models/image.keras"


@command
def main() -> None:
    settings = params.load()
    digest = sha256_file(MODEL)
    with (
        tracking.run(
            settings.tracking, stage="evaluate", kind="model", name="image", model_sha256=digest
        ) as run,
        beside.prepared(evaluation.PACKAGES) as call,
    ):
        scored = _scored(settings)
        results = call(evaluation.write, "image", scored, settings.evaluate.threshold)
        rows.log_evaluation(run, Path(), settings)
    print(f"image model: test ROC-AUC {results['test']['roc_auc']:.4f}")


def _scored(settings: params.Params) -> dict[str, pd.DataFrame]:
    """The predictions of each split, from the pictures; or, where the network was left as it was
    when they were embedded, from the embeddings, which saves computing them again."""
    tuned = read_json("metrics/train.json")["fine_tune"]["kept"]
    if tuned or embedding.description(EMBEDDINGS)["precision"] != "float32":
        return _from_pictures(settings)
    head = keras_file.head(MODEL)
    found = {}
    for split in evaluation.EVALUATED:
        table = embedding.Embeddings.open(EMBEDDINGS, split)
        ids = embedding.image_ids(EMBEDDINGS, split)
        found[split] = scores.predictions(ids, table.labels, head.scores(table.features))
    return found


def _from_pictures(settings: params.Params) -> dict[str, pd.DataFrame]:
    from deepfake import model, runtime

    runtime.start(seed=settings.seed, precision="float32")
    score = model.scorer(model.load(MODEL))
    size = settings.evaluate.batch_size
    return {
        split: scores.predictions(*model.score_split(score, IMAGES, split, size))
        for split in evaluation.EVALUATED
    }


if __name__ == "__main__":
    main()
