"""A narrow MobileNetV2 with random weights, and images for it."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from deepfake.data import shards
from deepfake.data.images import resized
from deepfake.models.head import Head

LAYERS = ["block_1_expand_relu", "block_3_expand_relu"]
SIZE = 64
VIEWS = ["original", "mirrored"]


def linear(dimensions: int, kernel: np.ndarray) -> Head:
    """A head without hidden layers."""
    head = Head.untrained(dimensions)
    head.kernels[0][:], head.biases[0][:] = kernel, 0.1
    return head


def noise_images(count: int, height: int, width: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def textures(count: int, height: int, width: int, seed: int = 0) -> np.ndarray:
    """Images that are not noise in every pixel, so that features differ from one another."""
    coarse = np.random.default_rng(seed).uniform(0, 255, (count, 8, 6, 3))
    large = [resized(np.repeat(np.repeat(c, 20, 0), 20, 1), max(height, width)) for c in coarse]
    return np.stack(large)[:, :height, :width].round().astype("uint8")


def write_shards(folder: Path, decoded: Any, split: str = "test") -> None:
    """The images as PNG in one shard of a split."""
    with shards.ShardWriter(folder, 10) as writer:
        for number, pixels in enumerate(decoded):
            data = io.BytesIO()
            Image.fromarray(pixels).save(data, "PNG")
            name = str(number)
            writer.write(shards.ImageFile(name, number % 2, split, name, data.getvalue()))


def drawn_head(dimensions: int, hidden: list[int]) -> Head:
    """A head with random weights and moments."""
    rng = np.random.default_rng(1)
    moments = rng.normal(size=dimensions), rng.uniform(0.5, 2, dimensions)
    moments[1][:3] = 1e-18  # a standard deviation below Keras's epsilon
    head = Head.untrained(dimensions, hidden)
    head.mean, head.variance = (m.astype("f") for m in moments)
    for weight in head.weights:
        weight[:] = rng.normal(size=weight.shape) * 0.1
    head.kernels[0][:3] *= 1e-7
    return head
