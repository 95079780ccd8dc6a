"""Images that arrive as text in base64, or as bytes, from whoever sends them."""

import base64
import binascii
from collections.abc import Iterable

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


def predict(detector: Detector, files: Files) -> list[Prediction]:
    """The prediction of each image, in order; what is not base64 is refused as that."""
    usable = [NamedImage(name, data) for name, data in files if data is not None]
    found = iter(detector.predict(usable))
    return [
        Prediction(name, None, None, NOT_BASE64) if data is None else next(found)
        for name, data in files
    ]
