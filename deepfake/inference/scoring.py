"""Score images: with the saved image model, or with its head from the embeddings."""

from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np

from deepfake.common import progress
from deepfake.common.errors import PipelineError
from deepfake.data import embeddings, shards
from deepfake.inference import keras_engine
from deepfake.inference.embed import Extract
from deepfake.models.head import Head

CHECKED = 4  # images of a split whose embeddings are computed again
_TOLERANCE = 0.01  # of a score; two engines or machines differ by less


def scorer(
    model: Any, output: Literal["score", "logit"] = "score"
) -> Callable[[Sequence[np.ndarray]], np.ndarray]:
    """Make a function from uint8 images (h, w, 3) of any sizes to scores (n,) float32.

    Images of one size are resized together, others one by one. Later changes of the model's
    weights are not seen.

    Args:
        model: the image model.
        output: `score`, P(fake); or `logit`, what the sigmoid turns into it, which in float32 keeps
            apart what the scores near 1 do not.
    """
    import keras

    classify = model.get_layer("classify")
    if output == "logit":
        classify = keras.Model(classify.input, classify.get_layer("score").input)
    size = classify.input.shape[1]
    forward = keras_engine.compiled(classify, size)
    resize = keras_engine.resizer(size)

    def score(images: Sequence[np.ndarray]) -> np.ndarray:
        return np.asarray(forward(keras_engine.resized(images, resize)).numpy()[:, 0])

    return score


def score_split(
    score: Callable[[Sequence[np.ndarray]], np.ndarray],
    images: Path | str,
    split: str,
    batch_size: int,
) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Score the images of a split; return image ids, labels (n,) and what `score` gives (n,), in
    order."""
    ids: list[str] = []
    labels: list[int] = []
    scores: list[np.ndarray] = []
    decoded = shards.decoded(shards.image_files(images, split))
    with progress.bar(shards.count(images, split), f"score {split}", "images") as shown:
        for batch in shards.batches(decoded, batch_size):
            ids += [image_file.image_id for image_file, _ in batch]
            labels += [image_file.label for image_file, _ in batch]
            scores.append(score([pixels for _, pixels in batch]))
            shown.update(len(batch))
    return ids, np.array(labels, dtype="int8"), np.concatenate(scores)


def check_embeddings(
    images: Path | str, directory: Path | str, split: str, extract: Extract, head: Head
) -> None:
    """Compute the features of a few images again and compare the scores.

    Args:
        images: the folder of shards.
        directory: the folder of embeddings.
        split: whose first `CHECKED` images are compared.
        extract: computes features as `embed` did.
        head: of the image model.

    Raises:
        PipelineError: a score differs, so the embeddings are not those of these images.
    """
    few = islice(shards.image_files(images, split), CHECKED)
    found = head.scores(np.stack(list(extract(few))))
    stored = embeddings.Embeddings.open(directory, split).features[0:CHECKED]
    apart = np.abs(found - head.scores(stored)).max()
    if not apart <= _TOLERANCE:
        raise PipelineError(
            f"{directory}: the embeddings of {split} are not those of {images}: scores of the "
            f"first images differ by {apart:.3f}. Run `dvc repro -f embed`."
        )
