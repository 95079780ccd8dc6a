"""The images of a split in batches for Keras: decoded, augmented, resized."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from deepfake.common.environment import cores
from deepfake.data import images, shards
from deepfake.training.augmentation import Augmentation
from deepfake.training.examples import WINDOW_GROUPS

_MOST_WORKERS = 4

Pixels = np.ndarray  # uint8 (height, width, 3)


class ImageStore:
    """The decoded images of a split by number, kept in memory as far as `limit` bytes reach.

    Others are read again from their row group; the last `WINDOW_GROUPS` groups stay in memory.

    Attributes:
        labels: int8 (n,), 1 for fake.
    """

    def __init__(self, directory: Path | str, split: str, limit: int) -> None:
        self.labels = np.array([label for _, label in shards.index(directory, split)], "int8")
        self.groups = shards.row_groups(directory, split)
        self._starts = np.array([group.start for group in self.groups])
        self._lock = threading.Lock()
        self._left = limit
        self._decoded: dict[int, Pixels] = {}
        self._read: OrderedDict[int, list[shards.ImageFile]] = OrderedDict()

    def __getitem__(self, number: int) -> Pixels:
        """The pixels of image `number` of the split, uint8 (height, width, 3)."""
        if number in self._decoded:
            return self._decoded[number]
        place = int(np.searchsorted(self._starts, number, side="right")) - 1
        image_file = self._group(place)[number - self.groups[place].start]
        with shards.decoding(image_file):
            pixels = images.decode(image_file.data)
        with self._lock:
            if pixels.nbytes <= self._left and number not in self._decoded:
                self._left -= pixels.nbytes
                self._decoded[number] = pixels
        return pixels

    def _group(self, place: int) -> list[shards.ImageFile]:
        with self._lock:
            found = self._read.pop(place, None) or shards.read(self.groups[place])
            self._read[place] = found  # the most recent one is last
            while len(self._read) > WINDOW_GROUPS:
                self._read.popitem(last=False)
        return found


def shuffled(groups: list[shards.RowGroup], *, seed: int, epoch: int) -> np.ndarray:
    """The numbers of all images (n,) in the order of an epoch.

    Row groups come in random order and are shuffled together `WINDOW_GROUPS` at a time, so that
    few of them are in use at once.
    """
    generator = np.random.default_rng([seed, 4, epoch])
    order = generator.permutation(len(groups))
    windows = [order[i : i + WINDOW_GROUPS] for i in range(0, len(order), WINDOW_GROUPS)]
    rows = [np.arange(group.start, group.start + group.rows) for group in groups]
    return np.concatenate(
        [generator.permutation(np.concatenate([rows[i] for i in window])) for window in windows]
    )


def batches(
    store: ImageStore,
    order: np.ndarray,
    *,
    size: int,
    batch_size: int,
    augmented: Callable[[int, Pixels], Pixels] | None = None,
) -> Any:
    """Make a `keras.utils.PyDataset` of pixels and labels.

    A batch is float32 pixels (m, size, size, 3) in [0, 255] and float32 labels (m, 1). Threads make
    batches ready while others are computed with.

    Args:
        store: the images.
        order: numbers of the images, in this order.
        size: side of the square that images are resized to, in pixels.
        batch_size: images in a batch; the last one may have fewer.
        augmented: changes the pixels of the image of a number, before they are resized.
    """
    import keras

    def ready(number: int) -> np.ndarray:
        pixels = store[number]
        if augmented is not None:
            pixels = augmented(number, pixels)
        return images.resized(pixels, size)

    class Batches(keras.utils.PyDataset):  # type: ignore[misc]
        def __len__(self) -> int:
            return -(-len(order) // batch_size)

        def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
            numbers = order[index * batch_size : (index + 1) * batch_size].tolist()
            # One after the other: large images of a whole batch would fill the memory.
            pixels = np.stack([ready(number) for number in numbers])
            return pixels, store.labels[numbers].astype("float32")[:, None]

    return Batches(workers=min(_MOST_WORKERS, cores()), max_queue_size=4)


def training_batches(
    store: ImageStore,
    augment: Augmentation | None,
    *,
    size: int,
    batch_size: int,
    seed: int,
    epoch: int,
) -> Any:
    """The batches of an epoch (from 0): shuffled, and each image changed at random.

    Order and changes follow from `(seed, epoch, number of the image)` alone.
    """

    def augmented(number: int, pixels: Pixels) -> Pixels:
        assert augment is not None
        return augment(pixels, np.random.default_rng([seed, 5, epoch, number]))

    return batches(
        store,
        shuffled(store.groups, seed=seed, epoch=epoch),
        size=size,
        batch_size=batch_size,
        augmented=augmented if augment else None,
    )
