"""The image model: one Keras model from uint8 pixels to P(fake).

resize -> scale to [-1, 1] -> MobileNetV2 -> statistics pooling -> standardisation -> head, all of
Keras's own layers and operations, so that `keras.models.load_model` reads it without this project.
"""

import json
import re
import zipfile
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from deepfake import dataset, embedding, progress
from deepfake.errors import PipelineError
from deepfake.files import replacing
from deepfake.views import seen

CHECKED = 16
CHECK_TOLERANCE = 1e-3
_CONSTANT = 1e-5  # a standard deviation this small beside the mean is rounding, not signal
_ZIP_TIME = (1980, 1, 1, 0, 0, 0)


def standardisation(mean: np.ndarray, std: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance (d,) float32 for the head's first layer; a constant feature's variance is
    1, so that it stays near 0 instead of becoming amplified noise."""
    constant = std <= _CONSTANT * np.abs(mean) + np.finfo("float32").tiny
    return mean.astype("float32"), np.where(constant, 1, std**2).astype("float32")


def head(mean: np.ndarray, variance: np.ndarray, hidden: Sequence[int], dropout: float) -> Any:
    """The head: float32 features (batch, d) to a logit (batch, 1).

    The output layer starts at zero, so an untrained head says 0.5.
    """
    import keras

    features = keras.Input((len(mean),), dtype="float32", name="features")
    x = keras.layers.Normalization(
        mean=mean, variance=variance, dtype="float32", name="standardise"
    )(features)
    for index, units in enumerate(hidden, start=1):
        x = keras.layers.Dense(units, "relu", dtype="float32", name=f"hidden_{index}")(x)
        x = keras.layers.Dropout(dropout, dtype="float32", name=f"dropout_{index}")(x)
    logit = keras.layers.Dense(1, dtype="float32", kernel_initializer="zeros", name="logit")(x)
    return keras.Model(features, logit, name="head")


def assemble(features: Any, head: Any, views: Sequence[str], image_size: int) -> Any:
    """Join both to a model from uint8 pixels (batch, height, width, 3) of any size to float32
    P(fake) (batch, 1), the sigmoid of the mean logit over `views`."""
    import keras

    from deepfake import backbone

    square = keras.Input((image_size, image_size, 3), dtype="float32", name="resized")
    logits = [head(features(seen(square, view))) for view in views]
    mean = logits[0]
    for logit in logits[1:]:
        mean = mean + logit
    if len(logits) > 1:
        mean = mean / len(logits)
    score = keras.layers.Activation("sigmoid", dtype="float32", name="score")(mean)
    classify = keras.Model(square, score, name="classify")
    pixels = keras.Input((None, None, 3), dtype="uint8", name="pixels")
    square = backbone.resized(pixels, image_size)
    return keras.Model(pixels, classify(square), name="image_model")


def save(model: Any, path: Path | str) -> None:
    """Save in Keras's `.keras` format, so that the same model gives the same bytes.

    Keras writes the time of saving into the archive and memory addresses as object ids; here the
    time is a constant and ids are numbered in order of appearance.
    """
    with replacing(path) as partial:
        model.save(partial)
        with zipfile.ZipFile(partial) as archive:
            members = {name: archive.read(name) for name in sorted(archive.namelist())}
        metadata = json.loads(members["metadata.json"])
        metadata["date_saved"] = "1980-01-01@00:00:00"
        members["metadata.json"] = json.dumps(metadata, sort_keys=True).encode()
        members["config.json"] = _numbered(members["config.json"].decode()).encode()
        with zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as archive:
            for name, data in members.items():
                archive.writestr(zipfile.ZipInfo(name, _ZIP_TIME), data)


def _numbered(config: str) -> str:
    """`config` with its `shared_object_id`s, which are addresses, numbered from 1."""
    numbers: dict[str, int] = {}

    def number(match: re.Match[str]) -> str:
        return f'"shared_object_id": {numbers.setdefault(match[1], len(numbers) + 1)}'

    return re.sub(r'"shared_object_id": (\d+)', number, config)


def load(path: Path | str) -> Any:
    """The saved image model, ready to score."""
    import keras

    return keras.models.load_model(path, compile=False)


def scorer(model: Any) -> Callable[[Sequence[np.ndarray]], np.ndarray]:
    """A function from uint8 pictures (h, w, 3), sizes mixed, to P(fake) (n,) float32.

    It is the model's own two parts: pictures of one size pass together, the others are resized one
    by one. The model's weights are those of this moment.
    """
    classify = model.get_layer("classify")
    size = classify.input.shape[1]
    forward = embedding.compiled(classify, size)
    resize = embedding.resizer(size)

    def score(images: Sequence[np.ndarray]) -> np.ndarray:
        return np.asarray(forward(embedding.resized(images, resize)).numpy()[:, 0])

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
    decoded = dataset.decoded(dataset.pictures(images, split))
    with progress.bar(dataset.count(images, split), f"score {split}", "pictures") as shown:
        for batch in embedding.batches(decoded, batch_size):
            ids += [picture.image_id for picture, _ in batch]
            labels += [picture.label for picture, _ in batch]
            scores.append(score([pixels for _, pixels in batch]))
            shown.update(len(batch))
    return ids, np.array(labels, dtype="int8"), np.concatenate(scores)


def head_logits(head: Any, features: np.ndarray) -> np.ndarray:
    """Logits (n,) of embeddings (n, views, d), averaged over the views."""
    views, d = features.shape[1:]
    parts = [
        head(features[block].reshape(-1, d), training=False).numpy().reshape(-1, views).mean(axis=1)
        for block in embedding.blocks(features)
    ]
    return np.concatenate(parts)


def score_embeddings(model: Any, embedded: embedding.Embeddings) -> np.ndarray:
    """What `score_split` gives, from the embeddings of the model's own frozen network."""
    head = model.get_layer("classify").get_layer("head")
    return np.asarray(1 / (1 + np.exp(-head_logits(head, embedded.features).astype("float64"))))


def check_embeddings(model: Any, embedded: embedding.Embeddings, images: Path | str) -> None:
    """Score the first `CHECKED` pictures of `valid` both ways.

    Raises:
        PipelineError: the embeddings are not those of the model's network.
    """
    pictures = islice(dataset.pictures(images, "valid"), CHECKED)
    first = scorer(model)([pixels for _, pixels in dataset.decoded(pictures)])
    apart = np.abs(first - score_embeddings(model, embedded)[: len(first)]).max()
    if apart > CHECK_TOLERANCE:
        raise PipelineError(
            f"the scores from the embeddings are {apart:.4f} from those from the pictures: "
            "data/embeddings is not of this model's network; run `dvc repro -f embed`"
        )
