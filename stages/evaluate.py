"""Stage `evaluate`: the detector, which is the image model with its temperature, and what it makes
of `valid` and `test`."""

from pathlib import Path

import numpy as np
import pandas as pd

from deepfake import params
from deepfake.common import paths
from deepfake.common.files import read_json, sha256_file
from deepfake.data import embeddings, shards
from deepfake.evaluation import calibration, decision
from deepfake.evaluation.predictions import predictions
from deepfake.evaluation.results import EVALUATED, write_results
from deepfake.inference import scoring
from deepfake.inference.extraction import make_extractor
from deepfake.models import image_model, keras_archive, tensorflow_setup
from deepfake.tracking import experiment_rows
from deepfake.tracking.run import start_run
from stages.running import stage

Logits = tuple[list[str], np.ndarray, np.ndarray]  # image ids, labels and logits


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
        found = (_from_embeddings if exact and not tuned else _from_images)(settings)
        _, labels, logits = found["valid"]
        temperature, note = calibration.fit_temperature(labels, logits)
        scored = {split: _table(split, *found[split], temperature) for split in EVALUATED}
        keras_archive.write_with_temperature(paths.IMAGE_MODEL, paths.DETECTOR, temperature)
        decided = decision.decide(
            scored["valid"],
            settings.evaluate,
            model_sha256=sha256_file(paths.DETECTOR),
            temperature=temperature,
            notes=[note] if note else [],
        )
        results = write_results("image", scored, decided)
        experiment_rows.log_evaluation(run, Path(), settings)
    print(
        f"image model: test ROC-AUC {results['test']['roc_auc']:.4f}, "
        f"threshold {decided.threshold:g}, temperature {temperature:g}"
    )


def _table(
    split: str, ids: list[str], labels: np.ndarray, logits: np.ndarray, temperature: float
) -> pd.DataFrame:
    """The predictions of a split, with the path of each image."""
    source_paths = shards.source_paths(paths.IMAGES, split)
    return predictions(
        ids,
        labels,
        calibration.calibrated(logits, temperature),
        [source_paths[name] for name in ids],
        uncalibrated=calibration.calibrated(logits, 1.0),
    )


def _from_embeddings(settings: params.Params) -> dict[str, Logits]:
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
        found[split] = ids, table.labels, head.averaged(table.features)
    return found


def _from_images(settings: params.Params) -> dict[str, Logits]:
    """Score with the whole image model."""
    tensorflow_setup.start(seed=settings.seed, precision="float32")
    score = scoring.scorer(image_model.load(paths.IMAGE_MODEL), "logit")
    size = settings.execution.batch_size
    return {split: scoring.score_split(score, paths.IMAGES, split, size) for split in EVALUATED}


if __name__ == "__main__":
    main()
