"""What the frozen layers make of each image, computed once and read in every epoch.

It is kept in files, not in memory: the operating system holds them in memory as far as there is
room, so that the process itself does not grow with the data.
"""

import errno
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deepfake.common import progress
from deepfake.data import shards
from deepfake.data.array_file import ArrayFile
from deepfake.inference import keras_engine
from deepfake.models.symmetries import seen
from deepfake.training.examples import Example

_LEFT_FREE = 1_000_000_000  # bytes on the disk, for checkpoints and others


class FrozenLayers:
    """The model `SplitNetwork.frozen`, compiled.

    Attributes:
        outputs: a `tf.TensorSpec` for each tensor that the model gives.
    """

    def __init__(self, frozen: Any) -> None:
        import tensorflow as tf

        pixels = tf.TensorSpec(frozen.input.shape, tf.float32)
        self._resize = keras_engine.resizer(frozen.input.shape[1])
        self._forward = tf.function(
            lambda pixels: frozen(pixels, training=False), input_signature=[pixels]
        )
        self.outputs = [tf.TensorSpec(output.shape, output.dtype) for output in frozen.outputs]

    def __call__(
        self, images: Sequence[np.ndarray], views: Sequence[str], shown: Sequence[int]
    ) -> list[Any]:
        """Compute the activations of uint8 images (h, w, 3) of any sizes.

        Image i is shown in the view `views[shown[i]]`.
        """
        import keras
        import tensorflow as tf

        pixels = keras_engine.resized(images, self._resize)
        for number, view in enumerate(views):
            chosen = np.equal(shown, number)
            if chosen.any():
                pixels = tf.where(chosen[:, None, None, None], seen(pixels, view), pixels)
        return list(keras.tree.flatten(self._forward(pixels)))


class ActivationCache:
    """The activations of the first images of a split, in each of `views`, in files of `folder`.

    Args:
        layers: computes the activations, also of images that are not cached.
        limit: bytes that the files may take, all together.

    Attributes:
        labels: those of the cached images, in the order of the shards.
    """

    def __init__(
        self, folder: Path, layers: FrozenLayers, views: Sequence[str], limit: int
    ) -> None:
        self._layers, self._views, self._limit = layers, views, limit
        # One row an image and view: row `number * len(views) + view`.
        self._files = [
            ArrayFile(folder / f"{number}.rows", output.shape[1:], output.dtype.as_numpy_dtype)
            for number, output in enumerate(layers.outputs)
        ]
        self._image_bytes = len(views) * sum(file.row_bytes for file in self._files)
        self.labels: list[int] = []
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return len(self.labels) * self._image_bytes

    def fill(self, images: Path | str, split: str, batch_size: int) -> None:
        """Cache as many images as fit within the limit, and leave room on the disk.

        Always in the same batches, so that a run that continues another reads the same bits, as
        long as the disk has the room.
        """
        free = max(0, shutil.disk_usage(self._folder).free - _LEFT_FREE)
        total = min(shards.count(images, split), min(self._limit, free) // self._image_bytes)
        if not total:
            return
        decoded = shards.decoded(shards.image_files(images, split))
        with progress.bar(total, f"cache {split}", "images") as bar:
            for batch in shards.batches(decoded, batch_size):
                pixels = [pixels for _, pixels in batch]
                labels = [image_file.label for image_file, _ in batch][: total - len(self.labels)]
                try:
                    self._append(pixels, len(labels))
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                    return
                self.labels += labels
                bar.update(len(labels))
                if len(self.labels) == total:
                    return

    def _append(self, pixels: Sequence[np.ndarray], count: int) -> None:
        """Write the activations of the first `count` images of a batch."""
        views = [
            self._layers(pixels, self._views, [view] * len(pixels))
            for view in range(len(self._views))
        ]
        for file, outputs in zip(self._files, zip(*views, strict=True), strict=True):
            by_image = np.stack([output.numpy()[:count] for output in outputs], axis=1)
            file.append(by_image.reshape(-1, *file.row_shape))

    def activations(self, batch: Sequence[Example]) -> list[Any]:
        """What the trained layers take for a batch: read where cached, computed otherwise."""
        cached = [row for row, example in enumerate(batch) if example.pixels is None]
        others = [row for row, example in enumerate(batch) if example.pixels is not None]
        if not cached:
            return self._compute(batch)
        numbers = [batch[row].number * len(self._views) + batch[row].view for row in cached]
        read = [file.take(numbers) for file in self._files]
        if not others:
            return read
        computed = self._compute([batch[row] for row in others])
        order = np.argsort([*cached, *others])
        return [
            np.concatenate([one, other.numpy()])[order]
            for one, other in zip(read, computed, strict=True)
        ]

    def _compute(self, batch: Sequence[Example]) -> list[Any]:
        pixels = [example.pixels for example in batch if example.pixels is not None]
        return self._layers(pixels, self._views, [example.view for example in batch])
