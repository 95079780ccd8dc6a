"""The resize of the image model in NumPy, for stages that do without TensorFlow."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray


def resized(pixels: NDArray[np.generic], size: int) -> NDArray[np.float32]:
    """The centre square of a picture (height, width, c) of any type as float32 (size, size, c), in
    the same range: `backbone.resized` of one picture, to float rounding.

    Bilinear, with antialiasing where it shrinks.
    """
    height, width = pixels.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = pixels[top : top + side, left : left + side].astype(np.float32)
    if side == size:
        return np.ascontiguousarray(square)
    places, weights = _taps(side, size)
    return _along(_along(square, places, weights, 0), places, weights, 1)


def _along(
    values: NDArray[np.float32],
    places: NDArray[np.intp],
    weights: NDArray[np.float32],
    axis: int,
) -> NDArray[np.float32]:
    """Resample one axis: each new value is the weighted sum of the old ones at its places."""
    shape = [1, 1, 1]
    shape[axis] = -1
    result = np.take(values, places[0], axis) * weights[0].reshape(shape)
    for place, weight in zip(places[1:], weights[1:], strict=True):
        part = np.take(values, place, axis)
        part *= weight.reshape(shape)
        result += part
    return np.asarray(result, np.float32)


@lru_cache(maxsize=1024)
def _taps(length: int, size: int) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """For `size` places over `length` values: indices and weights (taps, size) of the triangle
    filter, which is as wide as the larger of the two spacings (as TensorFlow's ScaleAndTranslate).
    """
    scale = length / size
    reach = max(scale, 1.0)
    centre = (np.arange(size) + 0.5) * scale
    first = np.ceil(centre - reach - 0.5).astype(np.intp)
    count = int(np.floor(2 * reach)) + 1
    places = first + np.arange(count)[:, None]
    weights = np.maximum(0, 1 - np.abs(places + 0.5 - centre) / reach)
    weights[(places < 0) | (places >= length)] = 0
    weights /= weights.sum(axis=0)
    used = weights.any(axis=1)
    return places.clip(0, length - 1)[used], weights[used].astype(np.float32)
