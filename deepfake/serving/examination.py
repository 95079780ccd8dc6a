"""What the page finds out about one image: its score, the face in it, and small copies to show."""

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from deepfake.common.threads import ordered
from deepfake.data import images
from deepfake.serving import faces
from deepfake.serving.detector import Detector, NamedImage, Prediction
from deepfake.serving.faces import Box, Face

THUMBNAIL, PREVIEW = 96, 480  # pixels of the longer side
_FRAME = (255, 160, 0)


@dataclass(frozen=True, slots=True)
class Examination:
    """What was found out about an image.

    Attributes:
        prediction: of the image, or of the crop around its face.
        doubt: why the image is outside what the model knows; None if it is not.
        face: the largest that was found, in pixels of the image.
        on_crop: whether the crop around the face was scored.
        thumbnail: a small JPEG of the image; empty if it was refused.
        preview: a larger one, with the face framed.
        crop: a JPEG of the crop around the face; empty if there is no face.
    """

    prediction: Prediction
    doubt: str | None = None
    face: Face | None = None
    on_crop: bool = False
    thumbnail: bytes = b""
    preview: bytes = b""
    crop: bytes = b""

    @property
    def scored(self) -> str:
        return "face crop" if self.on_crop else "whole image"


def examine_all(
    detector: Detector, files: Iterable[NamedImage], *, on_crop: bool
) -> Iterator[Examination]:
    """Examine images in order, in threads, in bounded memory. Bad ones have their reason."""
    return ordered(
        lambda file: examine(detector, file, on_crop=on_crop),
        files,
        size=lambda file: images.memory(file.data),
    )


def examine(detector: Detector, file: NamedImage, *, on_crop: bool) -> Examination:
    """Examine one image.

    Args:
        detector: that scores it.
        file: the bytes of the image file, and its name.
        on_crop: whether to score the crop around the face, if there is a face.
    """

    def found(pixels: NDArray[np.uint8]) -> Examination:
        height, width = pixels.shape[:2]
        all_faces = faces.find_faces(pixels)
        face = max(all_faces, key=_area, default=None)
        crop = None if face is None else faces.crop(pixels, face)
        scored = crop if on_crop and crop is not None else pixels
        doubt = faces.doubt(all_faces, height, width)
        if face is not None and scored is crop:
            doubt = faces.doubt_of_crop(face)
        score = detector.score(scored)
        return Examination(
            Prediction(file.name, score, detector.verdict(score)),
            doubt,
            face,
            scored is crop,
            _jpeg(_shrunk(pixels, THUMBNAIL)),
            _jpeg(_framed(pixels, face)),
            b"" if crop is None else _jpeg(_shrunk(crop, PREVIEW)),
        )

    try:
        return images.with_pixels(file.data, found)
    except images.BadImage as error:
        return Examination(Prediction(file.name, None, None, error.reason))


def scored_pixels(file: NamedImage, examination: Examination) -> NDArray[np.uint8]:
    """The pixels that were scored, shape (height, width, 3): the image, or the crop around its
    face."""
    pixels = images.decode(file.data)
    if examination.on_crop and examination.face is not None:
        return faces.crop(pixels, examination.face)
    return pixels


def _area(face: Face) -> int:
    return (face.box.right - face.box.left) * (face.box.bottom - face.box.top)


def _framed(pixels: NDArray[np.uint8], face: Face | None) -> Image.Image:
    """The image, small, with a frame around its face."""
    image = _shrunk(pixels, PREVIEW)
    if face is not None:
        scale = image.width / pixels.shape[1]
        box = Box(*(round(corner * scale) for corner in face.box))
        ImageDraw.Draw(image).rectangle(box, outline=_FRAME, width=3)
    return image


def _shrunk(pixels: NDArray[np.uint8], side: int) -> Image.Image:
    """The image, its longer side at most `side` pixels."""
    # A large image is thinned first, without a copy of it.
    step = max(1, max(pixels.shape[:2]) // (4 * side))
    image = Image.fromarray(np.ascontiguousarray(pixels[::step, ::step]))
    image.thumbnail((side, side))
    return image


def _jpeg(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=85)
    return file.getvalue()
