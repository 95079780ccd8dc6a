"""Stage `evaluate`: the detector, which is the image model with its temperature, and what it makes
of `valid` and `test`."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from deepfake import params
from deepfake.common import paths
from deepfake.common.files import read_json, sha256_file
from deepfake.data import embeddings, shards
from deepfake.evaluation import calibration, decision
from deepfake.evaluation.predictions import predictions, write_predictions
from deepfake.evaluation.results import EVALUATED, write_results
from deepfake.inference import scoring
from deepfake.inference.embed import Extract
from deepfake.inference.extraction import make_extractor
from deepfake.models import image_model, keras_archive, tensorflow_setup
from deepfake.models.head import Head
from deepfake.tracking import row_contents
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
        training = read_json(paths.TRAINING_SUMMARY)
        only_head = training["recipe"] == "probe" and not training["fine_tune"]["kept"]
        # In 16 bits the embeddings give other scores than the saved model, which is float32.
        exact = embeddings.description(paths.EMBEDDINGS)["precision"] == "float32"
        by_head = exact and only_head
        found = (_from_embeddings if by_head else _from_images)(settings)
        _, labels, logits = found["valid"]
        temperature, note = calibration.fit_temperature(labels, logits)
        scored = {
            split: _table(paths.IMAGES, split, *found[split], temperature) for split in EVALUATED
        }
        _score_external(settings, temperature, by_head=by_head)
        keras_archive.write_with_temperature(paths.IMAGE_MODEL, paths.DETECTOR, temperature)
        decided = decision.decide(
            scored["valid"],
            settings.evaluate,
            model_sha256=sha256_file(paths.DETECTOR),
            temperature=temperature,
            notes=[note] if note else [],
        )
        results = write_results("image", scored, decided)
        row_contents.log_evaluation(run, Path(), settings)
    print(
        f"image model: test ROC-AUC {results['test']['roc_auc']:.4f}, "
        f"threshold {decided.threshold:g}, temperature {temperature:g}"
    )


def _table(
    images: Path,
    split: str,
    ids: list[str],
    labels: np.ndarray,
    logits: np.ndarray,
    temperature: float,
) -> pd.DataFrame:
    """The predictions of a split, with the path of each image and the name of its source."""
    origins = shards.origins(images, split)
    found, sources = zip(*(origins[name] for name in ids), strict=True)
    return predictions(
        ids,
        labels,
        calibration.calibrated(logits, temperature),
        list(found),
        sources=list(sources),
        uncalibrated=calibration.calibrated(logits, 1.0),
    )


def _from_embeddings(settings: params.Params) -> dict[str, Logits]:
    """Score with the head alone: the backbone is still the one that made the embeddings."""
    head, extract = _head_and_extractor(settings)
    found = {}
    for split in EVALUATED:
        scoring.check_embeddings(paths.IMAGES, paths.EMBEDDINGS, split, extract, head)
        table = embeddings.Embeddings.open(paths.EMBEDDINGS, split)
        ids = embeddings.image_ids(paths.EMBEDDINGS, split)
        found[split] = ids, table.labels, head.averaged(table.features)
    return found


def _from_images(settings: params.Params) -> dict[str, Logits]:
    """Score with the whole image model."""
    score = _whole_model(settings)
    size = settings.execution.batch_size
    return {split: scoring.score_split(score, paths.IMAGES, split, size) for split in EVALUATED}


def _score_external(settings: params.Params, temperature: float, *, by_head: bool) -> None:
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
        table = _table(folder, "test", *score(images=folder, split="test"), temperature)
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
    """The function from images to logits of the whole image model."""
    tensorflow_setup.start(seed=settings.seed, precision="float32")
    return scoring.scorer(image_model.load(paths.IMAGE_MODEL), "logit")


if __name__ == "__main__":
    main()
