"""Embeddings: the feature statistics of every picture and view, computed once.

On disk, for each split, `{split}.npy` (pictures, views, d) float32 and `{split}.csv` with
`image_id` and `label` in the same order; `features.json` says what they are.
"""

import csv
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from deepfake import SPLITS, cache, dataset, progress
from deepfake.errors import PipelineError
from deepfake.files import read_json, replacing, write_json
from deepfake.views import seen

Forward = Callable[[Any], Any]
Extract = Callable[[Iterator[dataset.Picture]], Iterator[np.ndarray]]

BLOCK_BYTES = 128_000_000  # rows of embeddings kept in memory together
PART_BYTES = 8_000_000  # and worked on together


class Rows:
    """An array (n, views, d) float32 in a `.npy` file, read a slice of rows at a time.

    Not memory-mapped: all that was ever read would then count as the process's memory.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with open(path, "rb") as file:
            np.lib.format.read_magic(file)
            self.shape, _, _ = np.lib.format.read_array_header_1_0(file)
            self._offset = file.tell()

    def __len__(self) -> int:
        return int(self.shape[0])

    def __getitem__(self, rows: slice) -> np.ndarray:
        start, stop, _ = rows.indices(len(self))
        width = int(np.prod(self.shape[1:]))
        count, offset = (stop - start) * width, self._offset + start * width * 4
        values = np.fromfile(self._path, "<f4", count=count, offset=offset)
        return values.reshape(-1, *self.shape[1:])


@dataclass(frozen=True)
class Embeddings:
    """One split's embeddings: `labels` (n,) int8, `features` (n, views, d) float32."""

    labels: np.ndarray
    features: np.ndarray | Rows

    @classmethod
    def open(cls, directory: Path | str, split: str) -> "Embeddings":
        labels = np.array([int(label) for label in _column(directory, split, "label")], "int8")
        features = Rows(Path(directory) / f"{split}.npy")
        if len(labels) != len(features):
            raise PipelineError(
                f"{directory}/{split}.npy has {len(features)} rows and {split}.csv {len(labels)}: "
                "run `dvc repro -f embed`"
            )
        return cls(labels, features)


def image_ids(directory: Path | str, split: str) -> list[str]:
    """The `image_id` of each row of one split's embeddings."""
    return list(_column(directory, split, "image_id"))


def _column(directory: Path | str, split: str, name: str) -> Iterator[str]:
    with open(Path(directory) / f"{split}.csv", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            yield row[name]


def description(directory: Path | str) -> dict[str, Any]:
    """What `features.json` says: layers, statistics, views, image_size, weights, dimensions."""
    return dict(read_json(Path(directory) / "features.json"))


def blocks(features: np.ndarray | Rows) -> list[slice]:
    """Consecutive rows of (n, views, d), of at most `BLOCK_BYTES` each."""
    return _slices(features, slice(0, len(features)), BLOCK_BYTES)


def parts(features: np.ndarray | Rows, rows: slice | None = None) -> Iterator[np.ndarray]:
    """Consecutive rows of (n, views, d), or of some of them, as (m, d): those of at most
    `PART_BYTES` in memory at a time, so that what is computed of them stays small."""
    for part in _slices(features, rows or slice(0, len(features)), PART_BYTES):
        yield features[part].reshape(-1, features.shape[-1])


def _slices(features: np.ndarray | Rows, rows: slice, size: int) -> list[slice]:
    step = max(1, size // (4 * int(np.prod(features.shape[1:])) or 1))
    return [slice(i, min(i + step, rows.stop)) for i in range(rows.start, rows.stop, step)]


def batches(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def resized(images: Sequence[np.ndarray], resize: Forward) -> Any:
    """uint8 images (h, w, 3), of whatever sizes, as one float32 tensor (n, size, size, 3)."""
    import tensorflow as tf

    if len({image.shape for image in images}) == 1:
        return resize(tf.constant(np.stack(images)))
    return tf.concat([resize(tf.constant(image[None])) for image in images], axis=0)


def resizer(image_size: int) -> Forward:
    """`backbone.resized` compiled for uint8 pictures of any size."""
    import tensorflow as tf

    from deepfake import backbone

    signature = [tf.TensorSpec((None, None, None, 3), tf.uint8)]
    return tf.function(  # type: ignore[no-any-return]
        lambda pixels: backbone.resized(pixels, image_size), input_signature=signature
    )


def compiled(model: Any, image_size: int) -> Forward:
    """`model`, of float32 pixels (batch, image_size, image_size, 3), for inference alone.

    Its weights become constants, so that TensorFlow folds batch-norm and activations into the
    convolutions: 1.4 times faster on a CPU, equal to float rounding. Later changes of the model's
    weights are not seen.
    """
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    function = tf.function(lambda pixels: model(pixels, training=False))
    signature = tf.TensorSpec((None, image_size, image_size, 3), tf.float32)
    frozen = convert_variables_to_constants_v2(function.get_concrete_function(signature))
    return lambda pixels: frozen(pixels)[0]


def keras_extractor(
    model: Any, *, image_size: int, views: Sequence[str], batch_size: int
) -> Extract:
    """As `engine.extractor`, by TensorFlow: `model` maps float32 pixels (batch, image_size,
    image_size, 3) to features (batch, d)."""
    forward = compiled(model, image_size)
    resize = resizer(image_size)

    def extract(pictures: Iterator[dataset.Picture]) -> Iterator[np.ndarray]:
        decoded = (pixels for _, pixels in dataset.decoded(pictures))
        for batch in batches(decoded, batch_size):
            pixels = resized(batch, resize)
            yield from np.stack([forward(seen(pixels, view)).numpy() for view in views], axis=1)

    return extract


def compute(
    images: Path | str,
    directory: Path | str,
    extract: Extract,
    *,
    describe: dict[str, Any],
    batch_size: int,
    inputs: Iterable[Path],
) -> None:
    """Embed every picture of the shards in `images` into `directory`.

    `describe` says what the embeddings are, `views` and `dimensions` among it, and is written to
    `features.json`. What a killed run had computed, in whole batches, is kept and not computed
    again.
    """
    directory = Path(directory)
    with cache.unfinished("embed", {**describe, "batch_size": batch_size}, inputs) as work:
        for split in SPLITS:
            _embed_split(images, directory, split, extract, describe, batch_size, work)
        write_json(directory / "features.json", describe)


def _embed_split(
    images: Path | str,
    directory: Path,
    split: str,
    extract: Extract,
    describe: dict[str, Any],
    batch_size: int,
    work: Path,
) -> None:
    shape = (dataset.count(images, split), len(describe["views"]), describe["dimensions"])
    index: list[tuple[str, int]] = []
    with open(work / f"{split}.f32", "ab") as file:
        done = _whole_batches(file, shape, batch_size)
        pictures = islice(_indexed(dataset.pictures(images, split), index), done, None)
        with progress.bar(shape[0], f"embed {split}", "pictures", start=done) as shown:
            for row in extract(pictures):
                if not np.isfinite(row).all():
                    raise PipelineError(
                        "the backbone gave features that are not finite; its precision is "
                        "probably too low: set backbone.precision to float32"
                    )
                file.write(row.astype("<f4", copy=False).tobytes())
                shown.update(1)
    _write_npy(directory / f"{split}.npy", work / f"{split}.f32", shape)
    with (
        replacing(directory / f"{split}.csv") as partial,
        open(partial, "w", encoding="utf-8", newline="") as table,
    ):
        csv.writer(table, lineterminator="\n").writerows([("image_id", "label"), *index])


def _indexed(
    pictures: Iterable[dataset.Picture], index: list[tuple[str, int]]
) -> Iterator[dataset.Picture]:
    for picture in pictures:
        index.append((picture.image_id, picture.label))
        yield picture


def _whole_batches(file: Any, shape: tuple[int, int, int], batch_size: int) -> int:
    """Cut an interrupted file back to whole batches; returns the pictures that it holds."""
    row = shape[1] * shape[2] * 4
    done = file.tell() // row
    if done < shape[0]:
        done -= done % batch_size
    file.truncate(done * row)
    return int(done)


def _write_npy(path: Path, raw: Path, shape: tuple[int, int, int]) -> None:
    """Put NumPy's header before the raw float32 values of `raw`."""
    with replacing(path) as partial, open(partial, "wb") as target:
        header = {"descr": "<f4", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(target, header)
        with open(raw, "rb") as source:
            while piece := source.read(1 << 24):
                target.write(piece)
