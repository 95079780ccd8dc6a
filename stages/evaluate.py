"""Stage `evaluate`: the image model's scores of `valid` and `test`, and what they amount to."""

from pathlib import Path

import pandas as pd

from deepfake import beside, params
from deepfake.common.errors import command
from deepfake.common.files import read_json, sha256_file
from deepfake.data import embeddings
from deepfake.evaluation import predictions
from deepfake.evaluation.results import EVALUATED, PACKAGES, write_results
from deepfake.models import keras_archive
from deepfake.tracking import experiment_rows
from deepfake.tracking.run import start_run

IMAGES, EMBEDDINGS, MODEL = "data/images", "data/embeddings", "data/models/image.keras"


@command
def main() -> None:
    settings = params.load()
    digest = sha256_file(MODEL)
    with (
        start_run(
            settings.tracking, stage="evaluate", kind="model", name="image", model_sha256=digest
        ) as run,
        beside.prepared(PACKAGES) as call,
    ):
        scored = _scored(settings)
        results = call(write_results, "image", scored, settings.evaluate.threshold)
        experiment_rows.log_evaluation(run, Path(), settings)
    print(f"image model: test ROC-AUC {results['test']['roc_auc']:.4f}")


def _scored(settings: params.Params) -> dict[str, pd.DataFrame]:
    """The predictions of each split, from the images; or, where the network was left as it was
    when they were embedded, from the embeddings, which saves computing them again."""
    tuned = read_json("metrics/train.json")["fine_tune"]["kept"]
    if tuned or embeddings.description(EMBEDDINGS)["precision"] != "float32":
        return _from_images(settings)
    head = keras_archive.head(MODEL)
    found = {}
    for split in EVALUATED:
        table = embeddings.Embeddings.open(EMBEDDINGS, split)
        ids = embeddings.image_ids(EMBEDDINGS, split)
        found[split] = predictions.predictions(ids, table.labels, head.scores(table.features))
    return found


def _from_images(settings: params.Params) -> dict[str, pd.DataFrame]:
    from deepfake.inference import scoring
    from deepfake.models import image_model, tensorflow_setup

    tensorflow_setup.start(seed=settings.seed, precision="float32")
    score = scoring.scorer(image_model.load(MODEL))
    size = settings.evaluate.batch_size
    return {
        split: predictions.predictions(*scoring.score_split(score, IMAGES, split, size))
        for split in EVALUATED
    }


if __name__ == "__main__":
    main()
