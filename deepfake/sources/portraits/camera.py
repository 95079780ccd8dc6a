"""A procedural camera: lens blur, vignetting, sensor noise and the JPEG encoder."""

import io

import numpy as np
from numpy.random import Generator
from PIL import Image

from deepfake.sources.portraits.canvas import Array


def photograph(planes: Array, rng: Generator) -> Array:
    """Add lens blur, vignetting and sensor noise, the same for both classes."""
    size = planes.shape[-1]
    planes = blur(planes, rng.uniform(0.35, 0.95) * max(1.0, size / 256))
    axis = (np.arange(size) + 0.5) / size - 0.5
    corner = rng.uniform(0.0, 0.45)
    exposure = rng.uniform(0.90, 1.06) * (1.0 - corner * (axis[:, None] ** 2 + axis[None, :] ** 2))
    planes = planes * exposure
    level = np.exp(rng.uniform(np.log(0.006), np.log(0.024)))
    return planes + sensor_noise(planes, rng, level, rng.uniform(0.0, 0.18))


def sensor_noise(planes: Array, rng: Generator, level: float, spread: float) -> Array:
    """Return noise of standard deviation `level` in mid-grey, half of it shot noise.

    `spread` is how much of it demosaicing has smeared into each neighbour.
    """
    grain = rng.standard_normal(planes.shape)
    grain += 0.6 * grain[1]  # channels share some of it, again by demosaicing
    grain *= 0.8
    for axis in (1, 2):
        grain = _smear(grain, np.array([1.0 - 2.0 * spread, spread]), axis)
    return grain * (level * np.sqrt(0.5 + np.clip(planes, 0.0, 1.0)))


def blur(planes: Array, sigma: float) -> Array:
    """Blur the last two axes by a Gaussian of `sigma` pixels."""
    kernel: Array = np.exp(-0.5 * (np.arange(int(2.5 * sigma) + 2) / sigma) ** 2)
    kernel /= kernel[0] + 2.0 * kernel[1:].sum()
    return _smear(_smear(planes, kernel, planes.ndim - 2), kernel, planes.ndim - 1)


def _smear(planes: Array, kernel: Array, axis: int) -> Array:
    """Convolve one axis with a symmetric kernel, given from its middle; edges are repeated."""
    planes = np.moveaxis(planes, axis, 0)
    result = kernel[0] * planes
    for offset in range(1, len(kernel)):
        part = kernel[offset] * planes
        result[offset:] += part[:-offset]
        result[:-offset] += part[offset:]
        result[:offset] += part[:1]
        result[-offset:] += part[-1:]
    return np.moveaxis(result, 0, axis)


def encode(planes: Array, rng: Generator) -> bytes:
    """Write planes (3, H, W) in [0, 1] as a JPEG file, with random quality and subsampling."""
    pixels = np.floor(np.clip(planes, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)
    stream = io.BytesIO()
    image_file = Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))
    quality, subsampling = int(rng.integers(82, 97)), int(rng.integers(0, 3))
    image_file.save(stream, "JPEG", quality=quality, subsampling=subsampling)
    return stream.getvalue()
