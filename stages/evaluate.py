"""Stage `evaluate`: the image model's scores of `valid` and `test`, with metrics and curves."""

from pathlib import Path

import numpy as np
import pandas as pd

from deepfake import params
from deepfake.common import paths
from deepfake.common.files import read_json, sha256_file
from deepfake.data import embeddings, shards
from deepfake.evaluation.predictions import predictions
from deepfake.evaluation.results import EVALUATED, write_results
from deepfake.inference import scoring
from deepfake.inference.extraction import make_extractor
from deepfake.models import image_model, keras_archive, tensorflow_setup
from deepfake.tracking import experiment_rows
from deepfake.tracking.run import start_run
from stages.running import stage

Scores = tuple[list[str], np.ndarray, np.ndarray]  # image ids, labels and scores


@stage
def main() -> None:
    settings = params.load()
    digest = sha256_file(paths.IMAGE_MODEL)
    with start_run(
        settings.tracking, stage="evaluate", kind="model", name="image", model_sha256=digest
    ) as run:
        training = read_json(paths.TRAINING_SUMMARY)
        only_head = training["recipe"] == "probe" and not training["fine_tune"]["kept"]
        # In 16 bits the embeddings give other scores than the saved model, which is float32.
        exact = embeddings.description(paths.EMBEDDINGS)["precision"] == "float32"
        score = _from_embeddings if exact and only_head else _from_images
        scored = {split: _table(split, *found) for split, found in score(settings).items()}
        results = write_results("image", scored, settings.evaluate.threshold)
        experiment_rows.log_evaluation(run, Path(), settings)
    print(f"image model: test ROC-AUC {results['test']['roc_auc']:.4f}")


def _table(split: str, ids: list[str], labels: np.ndarray, scores: np.ndarray) -> pd.DataFrame:
    """The predictions of a split, with the path of each image."""
    source_paths = shards.source_paths(paths.IMAGES, split)
    return predictions(ids, labels, scores, [source_paths[name] for name in ids])


def _from_embeddings(settings: params.Params) -> dict[str, Scores]:
    """Score with the head alone: the backbone is still the one that made the embeddings."""
    head = keras_archive.read_head(paths.IMAGE_MODEL)
    _, extract = make_extractor(
        settings.backbone,
        settings.embed,
        seed=settings.seed,
        threads=settings.execution.threads,
    )
    found = {}
    for split in EVALUATED:
        scoring.check_embeddings(paths.IMAGES, paths.EMBEDDINGS, split, extract, head)
        table = embeddings.Embeddings.open(paths.EMBEDDINGS, split)
        ids = embeddings.image_ids(paths.EMBEDDINGS, split)
        found[split] = ids, table.labels, head.scores(table.features)
    return found


def _from_images(settings: params.Params) -> dict[str, Scores]:
    """Score with the whole image model."""
    tensorflow_setup.start(seed=settings.seed, precision="float32")
    score = scoring.scorer(image_model.load(paths.IMAGE_MODEL))
    size = settings.execution.batch_size
    return {split: scoring.score_split(score, paths.IMAGES, split, size) for split in EVALUATED}


if __name__ == "__main__":
    main()
