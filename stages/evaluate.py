"""Stage `evaluate`: the image model's scores of `valid` and `test`, with metrics and curves."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from deepfake import params
from deepfake.common import paths
from deepfake.common.files import read_json, sha256_file
from deepfake.data import embeddings, shards
from deepfake.evaluation.predictions import predictions, write_predictions
from deepfake.evaluation.results import EVALUATED, write_results
from deepfake.inference import scoring
from deepfake.inference.embed import Extract
from deepfake.inference.extraction import make_extractor
from deepfake.models import image_model, keras_archive, tensorflow_setup
from deepfake.models.head import Head
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
        # In 16 bits the embeddings give other scores than the saved model, which is float32.
        tuned = read_json(paths.TRAINING_SUMMARY)["fine_tune"]["kept"]
        exact = embeddings.description(paths.EMBEDDINGS)["precision"] == "float32"
        score = _from_embeddings if exact and not tuned else _from_images
        scored = {
            split: _table(paths.IMAGES, split, *found) for split, found in score(settings).items()
        }
        _score_external(settings, by_head=exact and not tuned)
        results = write_results("image", scored, settings.evaluate.threshold)
        experiment_rows.log_evaluation(run, Path(), settings)
    print(f"image model: test ROC-AUC {results['test']['roc_auc']:.4f}")


def _table(
    images: Path, split: str, ids: list[str], labels: np.ndarray, scores: np.ndarray
) -> pd.DataFrame:
    """The predictions of a split, with the path of each image and the name of its source."""
    origins = shards.origins(images, split)
    found, sources = zip(*(origins[name] for name in ids), strict=True)
    return predictions(ids, labels, scores, list(found), list(sources))


def _from_embeddings(settings: params.Params) -> dict[str, Scores]:
    """Score with the head alone: the backbone is still the one that made the embeddings."""
    head, extract = _head_and_extractor(settings)
    found = {}
    for split in EVALUATED:
        scoring.check_embeddings(paths.IMAGES, paths.EMBEDDINGS, split, extract, head)
        table = embeddings.Embeddings.open(paths.EMBEDDINGS, split)
        ids = embeddings.image_ids(paths.EMBEDDINGS, split)
        found[split] = ids, table.labels, head.scores(table.features)
    return found


def _from_images(settings: params.Params) -> dict[str, Scores]:
    """Score with the whole image model."""
    score = _whole_model(settings)
    size = settings.execution.batch_size
    return {split: scoring.score_split(score, paths.IMAGES, split, size) for split in EVALUATED}


def _score_external(settings: params.Params, *, by_head: bool) -> None:
    """Score the data sets never trained on, as valid and test are scored."""
    names = [one.name for one in settings.evaluate.external]
    if not names:
        return
    if by_head:
        head, extract = _head_and_extractor(settings)
        score = partial(scoring.score_by_head, extract, head)
    else:
        model, size = _whole_model(settings), settings.execution.batch_size
        score = partial(scoring.score_split, model, batch_size=size)
    for name in names:
        folder = paths.external(name)
        table = _table(folder, "test", *score(images=folder, split="test"))
        write_predictions(paths.external_predictions("image", name), table)


def _head_and_extractor(settings: params.Params) -> tuple[Head, Extract]:
    """The head of the image model, and what computes its features as `embed` did."""
    _, extract = make_extractor(
        settings.backbone,
        settings.embed,
        seed=settings.seed,
        threads=settings.execution.threads,
    )
    return keras_archive.read_head(paths.IMAGE_MODEL), extract


def _whole_model(settings: params.Params) -> Callable[[Sequence[np.ndarray]], np.ndarray]:
    """The function from images to scores of the whole image model."""
    tensorflow_setup.start(seed=settings.seed, precision="float32")
    return scoring.scorer(image_model.load(paths.IMAGE_MODEL))


if __name__ == "__main__":
    main()
