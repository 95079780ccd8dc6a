"""Find faces with BlazeFace, MediaPipe's small network, read by OpenVINO.

The network and its licence are in the folder `blazeface`. It sees the image as a square of 128
pixels, and knows faces of people within about two metres of the camera: one that is small in the
image is not found. Anchors, decoding and suppression follow MediaPipe's calculators
`ssd_anchors`, `tensors_to_detections` and `non_max_suppression`, with the options of its module
`face_detection_short_range`.
"""

import functools
import threading
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

NETWORK = Path(__file__).parent / "blazeface" / "face_detection_short_range.tflite"

_SIDE = 128  # pixels of the square that the network sees
_OUTPUTS = ("regressors", "classificators")
_GRIDS = ((16, 2), (8, 6))  # cells along a side of each grid, and anchors in a cell
_LEAST_SCORE = 0.5
_OVERLAP = 0.3  # intersection over union from which two boxes are one face
# The side of a crop, in sides of the face's box. FFHQ's images have 1.7 of them (the median of 87).
_CROP = 1.7
# A face that takes less of the side of the square that a detector sees is small: hardly one in data
# sets of faces does. So is one of fewer pixels.
SMALL_SHARE, SMALL_PIXELS = 0.25, 64


class Box(NamedTuple):
    """A rectangle within an image, in pixels; right and bottom are the first that lie outside."""

    left: int
    top: int
    right: int
    bottom: int


class Face(NamedTuple):
    """A face that was found."""

    box: Box  # from the brows to the chin
    score: float  # how sure the network is that it is a face, 0.5 to 1


def find_faces(pixels: NDArray[np.uint8]) -> list[Face]:
    """Find the faces in an image, the surest first.

    Args:
        pixels: shape (height, width, 3).
    """
    height, width = pixels.shape[:2]
    side = max(height, width)
    boxes, scores = _detect(_letterboxed(pixels))
    faces = []
    for box, score in _merged(boxes, scores):
        # From shares of the square, in whose middle the image lies, to pixels of the image.
        shift = np.array([side - width, side - height] * 2) / 2
        corners = np.clip(np.round(box * side - shift), 0, [width, height] * 2).astype(int)
        found = Box(*(int(corner) for corner in corners))
        if found.left < found.right and found.top < found.bottom:
            faces.append(Face(found, score))
    return faces


def crop(pixels: NDArray[np.uint8], face: Face) -> NDArray[np.uint8]:
    """Cut out the square around a face, as data sets of faces do; less where the image ends.

    Args:
        pixels: shape (height, width, 3).
        face: found in them.

    Returns:
        Shape (height, width, 3), a view of `pixels`.
    """
    height, width = pixels.shape[:2]
    left, top, right, bottom = face.box
    side = min(round(_CROP * max(right - left, bottom - top)), height, width)
    # The square is moved, not cut, where it would reach beyond the image.
    first_column = min(max((left + right - side) // 2, 0), width - side)
    first_row = min(max((top + bottom - side) // 2, 0), height - side)
    return pixels[first_row : first_row + side, first_column : first_column + side]


def doubt(faces: list[Face], height: int, width: int) -> str | None:
    """Why an image is outside what a detector of faces knows, as a sentence; None if it is not.

    A detector sees the centre square of an image alone.

    Args:
        faces: found in the image, the surest first.
        height: of the image, in pixels.
        width: likewise.
    """
    if not faces:
        return "No face was found, or it is too small in the image to be found."
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    sides, seen = [], []
    for box, _ in faces:
        sides.append(max(box.right - box.left, box.bottom - box.top))
        middle_x, middle_y = (box.left + box.right) / 2 - left, (box.top + box.bottom) / 2 - top
        seen.append(0 <= middle_x <= side and 0 <= middle_y <= side)
    if not any(seen):
        return "The face is outside the centre square of the image, which is all the model sees."
    largest = max(size for size, inside in zip(sides, seen, strict=True) if inside)
    if largest < max(SMALL_PIXELS, SMALL_SHARE * side):
        return f"The face is small: {largest} pixels of {side}."
    return None


def doubt_of_crop(face: Face) -> str | None:
    """As `doubt`, where the crop around a face is scored: the face must have enough pixels."""
    box = face.box
    side = max(box.right - box.left, box.bottom - box.top)
    return f"The face is small: {side} pixels." if side < SMALL_PIXELS else None


def _letterboxed(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The whole image in the middle of a black square, shape (1, 128, 128, 3), in [-1, 1]."""
    height, width = pixels.shape[:2]
    side = max(height, width)
    # A large image is thinned first, without a copy of it.
    step = max(1, side // (8 * _SIDE))
    image = Image.fromarray(np.ascontiguousarray(pixels[::step, ::step]))
    size = (max(1, round(_SIDE * width / side)), max(1, round(_SIDE * height / side)))
    small = image.resize(size, Image.Resampling.BILINEAR)
    square = Image.new("RGB", (_SIDE, _SIDE))
    square.paste(small, ((_SIDE - size[0]) // 2, (_SIDE - size[1]) // 2))
    return (np.asarray(square, np.float32) / 127.5 - 1)[np.newaxis]


def _detect(square: NDArray[np.float32]) -> tuple[NDArray[Any], NDArray[Any]]:
    """What the network takes for a face, the surest first.

    Returns:
        Boxes of shape (n, 4), left, top, right, bottom in shares of the square's side; scores of
        shape (n,).
    """
    network, lock = _network()
    with lock:  # two threads must not use one request at once
        answer = network.infer([square])
        raw, logits = (np.array(answer[name][0], np.float64) for name in _OUTPUTS)
    scores = 1 / (1 + np.exp(-logits[:, 0].clip(-80, 80)))
    # Of the 16 numbers of each anchor, the first four are its box; the others are eyes, ears,
    # nose and mouth. The centre is an offset from the anchor's, all in pixels.
    centres = raw[:, 0:2] / _SIDE + _anchors()
    halves = raw[:, 2:4] / _SIDE / 2
    boxes = np.concatenate([centres - halves, centres + halves], axis=1)
    order = np.argsort(-scores, kind="stable")
    order = order[(scores[order] >= _LEAST_SCORE) & (halves[order] > 0).all(axis=1)]
    return boxes[order], scores[order]


@functools.cache
def _network() -> tuple[Any, threading.Lock]:
    import openvino

    core = openvino.Core()
    # In float32 and one thread: it takes 2 ms, and finds the same on every machine.
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    compiled = core.compile_model(core.read_model(NETWORK), "CPU", settings)
    return compiled.create_infer_request(), threading.Lock()


@functools.cache
def _anchors() -> NDArray[np.float64]:
    """The centre of each anchor, (x, y) in shares of the square's side; shape (896, 2)."""
    centres = []
    for cells, repeats in _GRIDS:
        along = (np.arange(cells) + 0.5) / cells
        rows, columns = np.meshgrid(along, along, indexing="ij")
        grid = np.stack([columns.ravel(), rows.ravel()], axis=1)
        centres.append(np.repeat(grid, repeats, axis=0))
    return np.concatenate(centres)


def _merged(boxes: NDArray[Any], scores: NDArray[Any]) -> list[tuple[NDArray[Any], float]]:
    """Weighted non-maximum suppression: boxes that overlap the surest become their mean with it.

    Args:
        boxes: shape (n, 4), the surest first.
        scores: shape (n,), the weights.
    """
    merged = []
    while len(boxes):
        same = _overlaps(boxes[0], boxes) > _OVERLAP
        mean = np.average(boxes[same], axis=0, weights=scores[same])
        merged.append((mean, float(scores[0])))
        boxes, scores = boxes[~same], scores[~same]
    return merged


def _overlaps(box: NDArray[Any], boxes: NDArray[Any]) -> NDArray[Any]:
    """Intersection over union of a box and each of `boxes`."""
    common = np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2])
    shared: NDArray[Any] = common.clip(0).prod(axis=1)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    iou: NDArray[Any] = shared / ((box[2:] - box[:2]).prod() + areas - shared)
    return iou
