"""Images that arrive as text in base64, or as bytes, from whoever sends them."""

import base64
import binascii
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from deepfake.serving.detector import Detector, NamedImage, Prediction

# Beside `data.images.REASONS`: why an image of a request was refused.
NOT_BASE64 = "not base64"

Files = list[tuple[str, bytes | None]]  # names, and bytes of image files if there are any


def decoded(image: str | bytes) -> bytes | None:
    """The bytes of an image file: `image` itself, or what its text in base64 stands for.

    Line ends and the beginning of a `data:` address are allowed.

    Returns:
        None if it is text and not base64.
    """
    if not isinstance(image, str):
        return bytes(image)
    text = image.partition(",")[2] if image.startswith("data:") else image
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        return None


def files(images: Iterable[tuple[str, str | bytes]]) -> Files:
    """The bytes of named images, as `decoded` gives them."""
    return [(name, decoded(image)) for name, image in images]


def predict(
    detector: Detector, named: Sequence[tuple[str, bytes | np.ndarray | None]]
) -> list[Prediction]:
    """The prediction of each image, in order.

    Args:
        detector: scores them.
        named: names, and bytes of image files or uint8 pixels (height, width, 3). None stands for
            text that is not base64, which is refused.

    Raises:
        PipelineError: an array does not hold uint8 pixels.
    """
    usable = [
        NamedImage(name, image) if isinstance(image, bytes) else image
        for name, image in named
        if image is not None
    ]
    found = iter(detector.predict(usable))
    return [
        Prediction(name, None, None, NOT_BASE64)
        if image is None
        else replace(next(found), name=name)
        for name, image in named
    ]
