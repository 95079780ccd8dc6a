"""Read split and class from paths.

Folder names are compared whole and ignoring case; the deepest one that means something wins:
`real_vs_fake/real-vs-fake/train/real/1.jpg` is a real image of the training split.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import PurePosixPath

from deepfake.common.errors import PipelineError
from deepfake.common.labels import FAKE, REAL, SPLITS
from deepfake.common.text import folded, shown
from deepfake.data.images import SUFFIXES

SPLIT_NAMES = {
    "train": "train", "training": "train",
    "valid": "valid", "val": "valid", "validation": "valid", "validate": "valid", "dev": "valid",
    "test": "test", "testing": "test",
}  # fmt: skip
SHOWN = 5


@dataclass(frozen=True, slots=True)
class Place:
    """Split and label of an image as its path or a table gives them; None if not given."""

    split: str | None
    label: int | None


class ClassNames:
    """Which names mean real and which fake, ignoring case.

    Args:
        real, fake: folder names or table values.
    """

    def __init__(self, real: Sequence[str], fake: Sequence[str]) -> None:
        self.labels = {folded(name): REAL for name in real} | {folded(name): FAKE for name in fake}
        self.shown = f"real: {', '.join(real)}; fake: {', '.join(fake)}"

    def label(self, name: str) -> int | None:
        return self.labels.get(folded(name))


def is_image(path: str) -> bool:
    """Whether the name is that of an image; the content is not looked at."""
    return path.lower().endswith(SUFFIXES)


def place(path: str, names: ClassNames) -> Place:
    """Return split and label by the folders of a path; the deepest that means something wins."""
    split: str | None = None
    label: int | None = None
    for folder in PurePosixPath(path).parts[:-1]:
        here = _place_of_folder(folder, names)
        split = here.split or split
        label = label if here.label is None else here.label
    return _shared(split, label)


@cache
def _shared(split: str | None, label: int | None) -> Place:
    """Return one object for all images in the same place, which saves memory."""
    return Place(split, label)


def deciding_folder(path: str, names: ClassNames) -> str | None:
    """Return the folder of a path that tells its label, or the word in it that does."""
    for folder in reversed(PurePosixPath(path).parts[:-1]):
        if _place_of_folder(folder, names).label is not None:
            return folder if names.label(folder) is not None else _class_word(folder, names)
    return None


def _class_word(folder: str, names: ClassNames) -> str:
    return next(word for word in _words(folder) if word in names.labels)


def _words(folder: str) -> list[str]:
    return re.split(r"[-_. ]+", folded(folder))


def _place_of_folder(folder: str, names: ClassNames) -> Place:
    split, label = SPLIT_NAMES.get(folded(folder)), names.label(folder)
    if split is None and label is None:
        # `training_real` means both; `real_vs_fake` means neither.
        words = _words(folder)
        splits = [SPLIT_NAMES[word] for word in words if word in SPLIT_NAMES]
        labels = [names.labels[word] for word in words if word in names.labels]
        if len(words) == 2 and len(splits) == len(labels) == 1:
            return Place(splits[0], labels[0])
    return Place(split, label)


def complete_splits(splits: Mapping[str, str | None], where: str) -> bool:
    """Return whether the images come with splits: all of them or none.

    Args:
        splits: split (or None) of each path.
        where: the source, for the message.

    Raises:
        PipelineError: some images are in a split and some are not.
    """
    without = [path for path, split in splits.items() if split is None]
    if not without or len(without) == len(splits):
        return not without
    raise PipelineError(
        f"{where}: {len(without)} of {len(splits)} images are in none of the split folders "
        f"({', '.join(SPLITS)} or a usual spelling), though the others are in one. Outside: "
        f"{first(without)}. Move them into a split, or set data.folder.csv.split_column."
    )


def require_labels(labels: Mapping[str, int | None], names: ClassNames, where: str) -> None:
    """Raise PipelineError if an image has no label, listing the first few."""
    without = [path for path, label in labels.items() if label is None]
    if without:
        raise PipelineError(
            f"{where}: no class for {len(without)} of {len(labels)} images: {first(without)}. "
            f"Class folders are found by these names ({names.shown}); change data.folder.real and "
            "data.folder.fake, or name a table of labels in data.folder.csv.file."
        )


def first(items: Sequence[str], number: int = SHOWN) -> str:
    """The first few of `items`, as a message shows them."""
    return ", ".join(map(shown, items[:number])) + (", ..." if len(items) > number else "")
