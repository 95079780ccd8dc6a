"""Images of random texture, for checks and calibration that need no data."""

import numpy as np
from numpy.typing import NDArray

from deepfake.data.images import resized


def textures(count: int, size: int, seed: int) -> NDArray[np.float32]:
    """Draw images (count, size, size, 3) in [0, 255]: coarse patches of colour under fine noise."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(0, 255, (count, size // 8, size // 8, 3)).astype("float32")
    smooth = np.stack([resized(patches, size) for patches in coarse])
    return np.clip(smooth + rng.normal(0, 8, smooth.shape), 0, 255).astype("float32")
