"""Tell real from fake with an exported detector: `Detector.load`, then `predict`.

Needs NumPy, Pillow and OpenVINO alone.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self

import numpy as np
from PIL import Image as PillowImage

from deepfake.common import paths
from deepfake.common.errors import PipelineError
from deepfake.common.files import JSON_DIGITS, read_regular
from deepfake.common.text import printable
from deepfake.common.threads import ordered
from deepfake.data import images
from deepfake.serving import description

if TYPE_CHECKING:
    from deepfake.serving.explanation import Explanation

MOST_BYTES = 200_000_000  # of an image file
# Why a file is refused; `data.images.REASONS` has why an image is.
TOO_LARGE = f"larger than {MOST_BYTES // 10**6} MB"
NOT_REGULAR = "not a regular file"
_REGISTERED = ("models:/", "runs:/")


class NamedImage(NamedTuple):
    """The bytes of an image file, and the name by which its prediction is known."""

    name: str
    data: bytes


# A path, the bytes of an image file, an open Pillow image, or uint8 pixels (height, width, 3).
Image = str | Path | bytes | NamedImage | PillowImage.Image | np.ndarray
Verdict = Literal["real", "fake", "uncertain"]


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a detector says of an image.

    Attributes:
        name: the path, or "image 3" for the third of those that have no name.
        score: P(fake), calibrated; None if the image was refused.
        verdict: `fake` from the upper threshold on, `real` below the lower, else `uncertain`; None
            if the image was refused.
        reason: why it was refused, such as "truncated"; else None.
    """

    name: str
    score: float | None
    verdict: Verdict | None
    reason: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Name, score (six decimals), verdict and reason, ready for JSON or CSV."""
        score = None if self.score is None else round(self.score, JSON_DIGITS)
        return {
            "name": self.name,
            "score": score,
            "verdict": self.verdict,
            "reason": self.reason,
        }


class Detector:
    """An exported detector, ready to score. Threads may share it.

    Args:
        folder: that the stage `export` wrote.
        threads: processors that it uses; None: all of them.

    Attributes:
        folder: that it was loaded from.
        description: what it is, how its scores are read, and how good they were.

    Raises:
        PipelineError: the folder is no detector, or a file of it was changed.
    """

    def __init__(self, folder: Path | str, threads: int | None = None) -> None:
        from deepfake.inference.network import Network

        self.folder = Path(folder)
        self.description = description.read(self.folder)
        self._size = self.description.image_size
        path = self.folder / description.NETWORK
        self._network = Network(path, [self._size], threads=threads)

    @classmethod
    def load(cls, source: Path | str = paths.EXPORTED, threads: int | None = None) -> Self:
        """Load a detector.

        Args:
            source: a folder that the stage `export` wrote; `models:/NAME@champion` or
                `models:/NAME/3`, of MLflow's registry; or `runs:/ID`, of a run in MLflow.
            threads: processors that it uses; None: all of them.

        Raises:
            PipelineError: there is no detector, or it was changed.

        Example:
            >>> detector = Detector.load("data/detector")
            >>> detector.description.trained_on["images"]
            {'real': 700, 'fake': 700}
        """
        if str(source).startswith(_REGISTERED):
            from deepfake.serving import registry

            source = registry.fetch(str(source))
        return cls(source, threads)

    def predict(self, images: Image | Iterable[Image]) -> list[Prediction]:
        """Score an image, or several. A bad image file does not stop the others.

        Args:
            images: one or more of what `Image` names, or pixels (n, height, width, 3).

        Raises:
            PipelineError: an array does not hold uint8 pixels, such as one of floats in 0 to 1.

        Example:
            >>> detector = Detector.load("data/detector")
            >>> for found in detector.predict(["face.jpg", "notes.txt"]):
            ...     print(found.name, "has no score" if found.score is None else "has a score")
            face.jpg has a score
            notes.txt has no score
            >>> detector.predict(b"the bytes of a file")
            [Prediction(name='image 1', score=None, verdict=None, reason='not an image')]
        """
        return list(self.stream(_several(images)))

    def stream(self, images: Iterable[Image]) -> Iterator[Prediction]:
        """Score any number of images, in order and in bounded memory.

        Raises:
            PipelineError: as for `predict`.
        """
        loaded = (_loaded(image, number) for number, image in enumerate(images, start=1))
        return ordered(self._prediction, loaded, self._network.threads, size=_memory)

    def score(self, pixels: np.ndarray) -> float:
        """P(fake), calibrated, of uint8 pixels (height, width, 3) of any size.

        Raises:
            PipelineError: the array is something else.
        """
        images.require_pixels(pixels)
        logit = float(self._network([images.resized(pixels, self._size)])[0, 0])
        return 1 / (1 + math.exp(-logit)) if logit > -700 else 0.0

    def verdict(self, score: float) -> Verdict:
        """How a score is read, by the thresholds that were chosen on `valid`."""
        if score >= self.description.upper:
            return "fake"
        return "real" if score < self.description.lower else "uncertain"

    def explain(self, image: Image) -> "Explanation":
        """Show where in an image the score comes from.

        Raises:
            PipelineError: the image is refused, or this detector cannot explain.

        Example:
            >>> explanation = Detector.load("data/detector").explain("face.jpg")
            >>> explanation.exact
            True
            >>> explanation.overlay(opacity=0.5).save("why.png")
        """
        from deepfake.serving import explanation

        return explanation.explain(self, image)

    def _prediction(self, loaded: "_Loaded") -> Prediction:
        """Score what was loaded; called in a thread."""
        try:
            score = loaded.use(self.score)
        except images.BadImage as error:
            return Prediction(loaded.name, None, None, error.reason)
        return Prediction(loaded.name, score, self.verdict(score))


@dataclass(frozen=True, slots=True)
class _Loaded:
    """An image that waits to be scored: its bytes, its pixels, or why there are none."""

    name: str
    data: bytes | None = None
    pixels: np.ndarray | None = None
    reason: str = ""

    def use(self, score: Callable[[np.ndarray], float]) -> float:
        if self.reason:
            raise images.BadImage(self.reason)
        if self.data is not None:
            return images.with_pixels(self.data, score)
        assert self.pixels is not None
        return score(self.pixels)


def _several(given: Image | Iterable[Image]) -> Iterable[Image]:
    if isinstance(given, np.ndarray):
        return given if given.ndim == 4 else [given]
    one = isinstance(given, str | Path | bytes | NamedImage | PillowImage.Image)
    return [given] if one else given  # type: ignore[list-item, return-value]


def to_explain(given: Image | Iterable[Image]) -> tuple[str, np.ndarray]:
    """The name of the only image given, and its uint8 pixels (height, width, 3).

    Raises:
        PipelineError: there is none or more than one, it cannot be read or decoded, or an array
            does not hold uint8 pixels.
    """
    first = list(islice(_several(given), 2))
    if len(first) != 1:
        received = "several" if first else "none"
        raise PipelineError(f"one image is explained at a time; received {received}")
    loaded = _loaded(first[0], 1)
    try:
        if loaded.reason:
            raise images.BadImage(loaded.reason)
        pixels = images.decode(loaded.data) if loaded.data is not None else loaded.pixels
    except images.BadImage as error:
        raise PipelineError(
            f"{printable(loaded.name)}: cannot be explained: {error.reason}"
        ) from None
    assert pixels is not None
    return loaded.name, pixels


def _loaded(image: Image, number: int) -> _Loaded:
    """Read an image, not decoded yet if it is a file.

    Args:
        image: what `Image` names.
        number: of the image, from 1; names what has no name.
    """
    name = f"image {number}"
    if isinstance(image, NamedImage):
        return _Loaded(image.name, image.data)
    if isinstance(image, bytes):
        return _Loaded(name, image)
    if isinstance(image, str | Path):
        return _read(Path(image))
    if isinstance(image, PillowImage.Image):
        try:
            return _Loaded(name, pixels=images.rgb(image.copy()))
        except images.BadImage as error:
            return _Loaded(name, reason=error.reason)
        except Exception as error:  # the copy decodes the file, whose bytes may be anything
            return _Loaded(name, reason=f"cannot be decoded: {error}")
    images.require_pixels(image)
    return _Loaded(name, pixels=image)


def _read(path: Path) -> _Loaded:
    """Read an image file that is not too large."""
    name = str(path)
    try:
        data = read_regular(path, MOST_BYTES + 1)
    except (OSError, ValueError) as error:  # a null character in a path is a ValueError
        return _Loaded(name, reason=f"cannot be read: {getattr(error, 'strerror', error)}")
    if data is None:
        return _Loaded(name, reason=NOT_REGULAR)
    return _Loaded(name, reason=TOO_LARGE) if len(data) > MOST_BYTES else _Loaded(name, data)


def _memory(loaded: _Loaded) -> int:
    """About how many bytes an image takes until it is scored."""
    if loaded.data is not None:
        return images.memory(loaded.data)
    return 0 if loaded.pixels is None else loaded.pixels.nbytes
