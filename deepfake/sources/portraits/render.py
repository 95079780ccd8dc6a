"""Portraits drawn by the project itself: the sample data set that needs no account or network.

A test card, not a benchmark: it shows that every stage does its work, in minutes, on any machine.
Each image is a procedural portrait (skin, hair, eyes, mouth, light, background), photographed by
a procedural camera (lens blur, vignetting, sensor noise) and written by one JPEG encoder. Real
images (label 0) stop there. Fake images (label 1) are portraits of *other* people from the same
distribution, whose inner face is manipulated between the camera and the encoder, with one or
several of `MANIPULATIONS`.

Encoder quality, chroma subsampling, noise and blur are drawn independently of the label, and the
manipulations that cost bytes balance those that save them, so that the files' metadata says
nothing about the label. A few fakes are nearly flawless, which keeps scores below 1.

Nothing is drawn from global state: an image depends on the arguments of `render` alone, and
images can be rendered in any order and in any number of processes. Arithmetic is elementwise
float64 (no BLAS, no threads), so last-bit differences between processors are about 1e12 times
smaller than a grey level.
"""

import io

import numpy as np
from numpy.random import PCG64, Generator, SeedSequence
from PIL import Image

from deepfake.sources.portraits.camera import encode, photograph
from deepfake.sources.portraits.manipulations import manipulate
from deepfake.sources.portraits.portrait import draw_portrait

MINIMUM_SIZE, MAXIMUM_SIZE = 64, 1024
MAXIMUM_STRENGTH = 4.0


def render(*, label: int, seed: int, index: int, size: int = 256, strength: float = 1.0) -> bytes:
    """Draw one portrait and return it as an encoded JPEG file.

    Args:
        label: 0 for a real, 1 for a fake. Other people are drawn for each label.
        seed: names the set of portraits, >= 0.
        index: number of the portrait in its set and label, >= 0.
        size: width and height in pixels, 64 to 1024.
        strength: scales how visible the manipulations of a fake are, over 0 and at most 4.
            Real portraits do not depend on it.

    Returns:
        The bytes of a JPEG file, `size` x `size`, RGB, without EXIF. The same arguments give the
        same bytes (for one version of NumPy and of Pillow).

    Raises:
        ValueError: an argument is out of range.
    """
    _check(label=label, seed=seed, index=index, size=size, strength=strength)
    # glibc returns large blocks to the system when they are freed, and the page faults would cost
    # a third of the time; once it has seen a block larger than all of ours freed, it keeps them.
    np.empty(2**21)
    scene, camera, forger, encoder = streams(label, seed, index)
    planes, face = draw_portrait(scene, size)
    planes = photograph(planes, camera)
    if label == 1:
        planes = manipulate(planes, face, forger, strength)
    return encode(planes, encoder)


def contact_sheet(rows: int, columns: int, *, seed: int, size: int = 128) -> Image.Image:
    """Draw `rows` rows of `columns` real portraits, and as many rows of fakes below."""
    sheet = Image.new("RGB", (columns * size, 2 * rows * size))
    for place in range(2 * rows * columns):
        label, index = divmod(place, rows * columns)
        image_file = Image.open(io.BytesIO(render(label=label, seed=seed, index=index, size=256)))
        row, column = divmod(place, columns)
        thumbnail = image_file.resize((size, size), Image.Resampling.LANCZOS)
        sheet.paste(thumbnail, (column * size, row * size))
    return sheet


def _check(*, label: int, seed: int, index: int, size: int, strength: float) -> None:
    if label not in (0, 1):
        raise ValueError(f"`label` must be 0 (real) or 1 (fake). Received `label={label!r}`")
    for name, value in (("seed", seed), ("index", index)):
        if not isinstance(value, (int, np.integer)) or value < 0:
            raise ValueError(f"`{name}` must be an integer >= 0. Received `{name}={value!r}`")
    if not isinstance(size, (int, np.integer)) or not MINIMUM_SIZE <= size <= MAXIMUM_SIZE:
        raise ValueError(
            f"`size` must be an integer from {MINIMUM_SIZE} to {MAXIMUM_SIZE}. "
            f"Received `size={size!r}`"
        )
    if not 0 < strength <= MAXIMUM_STRENGTH:
        raise ValueError(
            f"`strength` must be over 0 and at most {MAXIMUM_STRENGTH}. "
            f"Received `strength={strength!r}`"
        )


def streams(label: int, seed: int, index: int) -> list[Generator]:
    """Return independent generators for the scene, the camera, the manipulation and the encoder."""
    root = SeedSequence([int(seed), int(label), int(index)])
    return [Generator(PCG64(child)) for child in root.spawn(4)]
