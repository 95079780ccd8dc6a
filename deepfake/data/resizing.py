"""The resize of the image model in NumPy, for stages that do without TensorFlow."""

from functools import lru_cache
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

T = TypeVar("T", bound=np.generic)


def resized(pixels: NDArray[np.generic], size: int) -> NDArray[np.float32]:
    """The centre square of an image (height, width, c) of any type as float32 (size, size, c), in
    the same range: `backbone.resized` of one image, to float rounding.

    Bilinear, with antialiasing where it shrinks.
    """
    height, width = pixels.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = pixels[top : top + side, left : left + side]
    if side == size:
        return np.ascontiguousarray(square, np.float32)
    # Turned before they are float, of which there are four times the bytes.
    columns = _resampled(_transposed(square).astype(np.float32), size)
    return _resampled(_transposed(columns), size)


def _resampled(values: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """Values (length, width, c) resampled along the first axis: (size, width, c)."""
    length, width, channels = values.shape
    product = _filter(length, size) @ values.reshape(length, -1)
    return np.asarray(product, np.float32).reshape(size, width, channels)


def _transposed(values: NDArray[T]) -> NDArray[T]:
    """Values (height, width, c) as a new array (width, height, c)."""
    height, width, channels = values.shape
    flat = np.ascontiguousarray(values).reshape(height, -1)
    pixels = flat.view(f"V{values.itemsize * channels}")  # moved whole: twice as fast
    return np.ascontiguousarray(pixels.T).view(values.dtype).reshape(width, height, channels)


@lru_cache(maxsize=1024)
def _filter(length: int, size: int) -> csr_array:
    """The matrix (size, length) that resamples `length` values: the triangle filter, which is as
    wide as the larger of the two spacings (as TensorFlow's ScaleAndTranslate)."""
    scale = length / size
    reach = max(scale, 1.0)
    centre = (np.arange(size) + 0.5) * scale
    first = np.ceil(centre - reach - 0.5).astype(np.intp)
    places = first[:, None] + np.arange(int(2 * reach) + 1)
    weights = np.maximum(0, 1 - np.abs(places + 0.5 - centre[:, None]) / reach)
    weights[(places < 0) | (places >= length)] = 0
    weights /= weights.sum(axis=1, keepdims=True)
    row, tap = np.nonzero(weights)
    entries = weights[row, tap].astype(np.float32)
    return csr_array((entries, (row, places[row, tap])), shape=(size, length))
