"""Which images fine-tuning sees, in which order, and how each of them is shown."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deepfake.common import threads
from deepfake.data import shards
from deepfake.data.images import decode
from deepfake.training.augmentation import Augmentation

WINDOW_GROUPS = 32  # row groups of images shuffled together
FLIP_VIEWS = ("original", "mirrored")


@dataclass(frozen=True, slots=True)
class Example:
    """One image as the network sees it.

    Attributes:
        number: of the image in its split.
        label: 1 for fake.
        view: number of the view, in the list of views that goes with the example.
        pixels: uint8 (height, width, 3), before the view is applied; None where the activations
            are cached.
    """

    number: int
    label: int
    view: int
    pixels: np.ndarray | None


def train_examples(
    images: Path | str,
    augment: Augmentation,
    *,
    seed: int,
    epoch: int,
    cached_labels: Sequence[int] = (),
) -> Iterator[Example]:
    """Each training image once, in this epoch's order, decoded and augmented by threads.

    If flips are the only augmentation, an image is mirrored by choosing a view of `FLIP_VIEWS`, for
    which activations may be cached. Otherwise its pixels are augmented, and its view is the
    original.
    """

    def load(item: tuple[int, shards.ImageFile | None]) -> Example:
        number, image_file = item
        generator = np.random.default_rng([seed, 3, epoch, number])
        label, pixels = _label_and_pixels(number, image_file, cached_labels)
        if augment.only_flips:
            return Example(number, label, int(augment.mirrors(generator)), pixels)
        assert pixels is not None, "only flips are cached"
        return Example(number, label, 0, augment(pixels, generator))

    order = epoch_order(images, seed=seed, epoch=epoch, cached=len(cached_labels))
    return threads.ordered(load, order, size=_memory)


def valid_examples(
    images: Path | str, views: Sequence[str], cached_labels: Sequence[int] = ()
) -> Iterator[Example]:
    """Each validation image in each view, image by image in the order of the shards."""

    def load(item: tuple[int, shards.ImageFile | None]) -> list[Example]:
        number, image_file = item
        label, pixels = _label_and_pixels(number, image_file, cached_labels)
        return [Example(number, label, view, pixels) for view in range(len(views))]

    groups = shards.row_groups(images, "valid")
    order = (item for group in groups for item in _numbered(group, len(cached_labels)))
    return (example for loaded in threads.ordered(load, order, size=_memory) for example in loaded)


def epoch_order(
    images: Path | str, *, seed: int, epoch: int, cached: int = 0
) -> Iterator[tuple[int, shards.ImageFile | None]]:
    """The numbers of the training images in this epoch's order, each with its image file, or None
    for the first `cached` images.

    Row groups are read in random order and shuffled together `WINDOW_GROUPS` at a time.
    """
    generator = np.random.default_rng([seed, 2, epoch])
    groups = shards.row_groups(images, "train")
    order = generator.permutation(len(groups))
    for start in range(0, len(order), WINDOW_GROUPS):
        window = [groups[number] for number in order[start : start + WINDOW_GROUPS]]
        numbered = [item for group in window for item in _numbered(group, cached)]
        for index in generator.permutation(len(numbered)):
            yield numbered[index]


def _numbered(group: shards.RowGroup, cached: int) -> Iterator[tuple[int, shards.ImageFile | None]]:
    """The images of a row group with their numbers; a group that is cached whole is not read."""
    end = group.start + group.rows
    if end <= cached:
        yield from ((number, None) for number in range(group.start, end))
        return
    for number, image_file in enumerate(shards.read(group), start=group.start):
        yield number, None if number < cached else image_file


def _label_and_pixels(
    number: int, image_file: shards.ImageFile | None, cached_labels: Sequence[int]
) -> tuple[int, np.ndarray | None]:
    if image_file is None:
        return cached_labels[number], None
    with shards.decoding(image_file):
        return image_file.label, decode(image_file.data)


def _memory(item: tuple[int, shards.ImageFile | None]) -> int:
    return 0 if item[1] is None else shards.memory(item[1])
