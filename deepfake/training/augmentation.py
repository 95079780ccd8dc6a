"""Augmentation of training images: uint8 pixels in, uint8 pixels of the same size out."""

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

JPEG_QUALITIES = (50, 95)


@dataclass(frozen=True)
class Augmentation:
    """What is done to an image at random; every amount is the most in either direction.

    Attributes:
        flip: whether to mirror an image with probability 1/2.
        rotation, shear: in degrees.
        zoom, contrast: as fractions.
        shift: as a fraction of the side.
        jpeg: share of images encoded again as JPEG, at a quality drawn from `JPEG_QUALITIES`.
    """

    flip: bool
    rotation: float
    shear: float
    zoom: float
    shift: float
    contrast: float
    jpeg: float

    @property
    def only_flips(self) -> bool:
        """Whether an image is at most mirrored."""
        return not (self._moves or self.contrast or self.jpeg)

    @property
    def _moves(self) -> bool:
        return bool(self.rotation or self.shear or self.zoom or self.shift)

    def mirrors(self, generator: np.random.Generator) -> bool:
        """Whether calling this with such a generator mirrors the image."""
        return self.flip and bool(generator.uniform(-1, 1, size=8)[0] < 0)

    def __call__(
        self, pixels: NDArray[np.uint8], generator: np.random.Generator
    ) -> NDArray[np.uint8]:
        """Augment one image (height, width, 3); what is drawn depends on `generator` alone."""
        drawn = generator.uniform(-1, 1, size=8)
        flip, angle, zoom, right, down, contrast, jpeg, shear = drawn
        if self.flip and flip < 0:
            pixels = pixels[:, ::-1]
        if self._moves:
            pixels = _moved(
                pixels,
                angle=np.deg2rad(angle * self.rotation),
                shear=np.deg2rad(shear * self.shear),
                scale=1 + zoom * self.zoom,
                shift=(right * self.shift, down * self.shift),
            )
        if self.contrast:
            mean = pixels.mean()
            changed = (pixels - mean) * (1 + contrast * self.contrast) + mean
            pixels = np.clip(np.rint(changed), 0, 255).astype(np.uint8)
        if (jpeg + 1) / 2 < self.jpeg:
            pixels = _encoded_again(pixels, int(generator.integers(*JPEG_QUALITIES, endpoint=True)))
        return np.ascontiguousarray(pixels)


def _moved(
    pixels: NDArray[np.uint8],
    *,
    angle: float,
    shear: float,
    scale: float,
    shift: tuple[float, float],
) -> NDArray[np.uint8]:
    """Turn about the middle, lean columns over by `shear`, enlarge by `scale` and shift, in one
    bilinear resampling; what lies outside the image is its mirror image."""
    height, width = pixels.shape[:2]
    # As far out as a corner of the result can come from.
    lean = np.tan(shear)
    reach = (np.hypot(height, width) / 2 + np.hypot(shift[0] * width, shift[1] * height)) / scale
    reach *= 1 + abs(lean)
    pad_y = max(0, int(np.ceil(reach - height / 2)) + 2)
    pad_x = max(0, int(np.ceil(reach - width / 2)) + 2)
    padded = np.pad(pixels, ((pad_y, pad_y), (pad_x, pad_x), (0, 0)), mode="symmetric")
    cos, sin = np.cos(angle) / scale, np.sin(angle) / scale
    across, down = cos + lean * sin, sin - lean * cos
    middle_x, middle_y = (width - 1) / 2 + 0.5, (height - 1) / 2 + 0.5
    # Pillow asks, for each place in the result, where in the source to look.
    centre_x, centre_y = middle_x + shift[0] * width, middle_y + shift[1] * height
    coefficients = (
        across,
        down,
        pad_x + middle_x - across * centre_x - down * centre_y,
        -sin,
        cos,
        pad_y + middle_y + sin * centre_x - cos * centre_y,
    )
    moved = Image.fromarray(padded).transform(
        (width, height), Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR
    )
    return np.asarray(moved)


def _encoded_again(pixels: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    encoded = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(encoded, "JPEG", quality=quality)
    return np.asarray(Image.open(encoded))
