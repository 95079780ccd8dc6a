"""TODO of inference.scoring."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deepfake.common import progress
from deepfake.data import shards
from deepfake.inference import keras_engine


def scorer(model: Any) -> Callable[[Sequence[np.ndarray]], np.ndarray]:
    """A function from uint8 images (h, w, 3), sizes mixed, to P(fake) (n,) float32.

    It is the model's own two parts: images of one size pass together, the others are resized one
    by one. The model's weights are those of this moment.
    """
    classify = model.get_layer("classify")
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
    """Image ids, labels (n,) and scores (n,) of a split, in the order of its shards."""
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
