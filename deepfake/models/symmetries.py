"""The ways in which an image is shown to the network: the eight symmetries of a square.

Traces of manipulation are texture, which looks much the same from every side, but the activations
of ImageNet's weights differ from view to view. More views give more to learn from, and scores
averaged over them have smaller errors.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

# Whether rows and columns are exchanged, then whether the rows and the columns are reversed.
_SYMMETRIES = {
    "original": (False, False, False),
    "mirrored": (False, False, True),  # left and right exchanged
    "flipped": (False, True, False),  # upside down, by reflection
    "turned": (False, True, True),  # by 180 degrees
    "transposed": (True, False, False),  # reflected at the diagonal from the upper left
    "rotated_right": (True, False, True),  # by 90 degrees, clockwise
    "rotated_left": (True, True, False),  # by 90 degrees, anticlockwise
    "transversed": (True, True, True),  # reflected at the other diagonal
}


def seen(pixels: Any, view: str) -> Any:
    """Square images (batch, size, size, channels) in one of `VIEWS`, of the same shape."""
    from keras import ops

    exchanged, rows, columns = _SYMMETRIES[view]
    if exchanged:
        pixels = ops.transpose(pixels, (0, 2, 1, 3))
    # One axis at a time: OpenVINO's converter knows no flip of two.
    for axis, reverse in ((1, rows), (2, columns)):
        if reverse:
            pixels = ops.flip(pixels, axis=axis)
    return pixels


def shown(pixels: NDArray[Any], view: str) -> NDArray[Any]:
    """One square image (size, size, channels) in one of `VIEWS`, as `seen`."""
    exchanged, rows, columns = _SYMMETRIES[view]
    if exchanged:
        pixels = np.swapaxes(pixels, 0, 1)
    return pixels[:: -1 if rows else 1, :: -1 if columns else 1]


def undone(heat: NDArray[Any], view: str) -> NDArray[Any]:
    """A square map (size, size) of what `shown` shows as `view`, the way the image is."""
    exchanged, rows, columns = _SYMMETRIES[view]
    heat = heat[:: -1 if rows else 1, :: -1 if columns else 1]
    return heat.T if exchanged else heat
