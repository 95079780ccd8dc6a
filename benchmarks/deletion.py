"""Whether explanations show what the score depends on: `make deletion`.

In images of `test`, the tenth that speaks most for the verdict is blurred, and as large a tenth at
random places. If the explanation is right, the first moves the logit more.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from deepfake.common import paths, progress
from deepfake.common.errors import PipelineError, command
from deepfake.data import shards
from deepfake.data.images import decode, resized
from deepfake.exporting.agreement import spread
from deepfake.inference.network import Network
from deepfake.serving import description
from deepfake.serving.explanation import Explainer

SIDE = 24  # blocks in a row
SHARE = 0.1  # of the blocks that are blurred
DRAWS = 5  # random tenths of each image
SIGMA = 4.0  # pixels, of the blur
CONFIDENCE = 0.95

Square = NDArray[np.float32]


def highlighted(heat: Square, sign: float) -> NDArray[np.bool_]:
    """The tenth of the blocks (SIDE, SIDE) whose heat speaks most for the verdict.

    Args:
        heat: (s, s), above 0 where it speaks for fake.
        sign: 1 if the verdict is fake, -1 if it is real.
    """
    edges = np.linspace(0, len(heat), SIDE + 1).astype(int)[:-1]
    blocks = np.add.reduceat(np.add.reduceat(sign * heat, edges, axis=0), edges, axis=1)
    return _of(np.argsort(-blocks, axis=None)[: _count()])


def random_tenth(rng: np.random.Generator) -> NDArray[np.bool_]:
    """As many blocks, anywhere."""
    return _of(rng.choice(SIDE * SIDE, _count(), replace=False))


def blurred(square: Square, blocks: NDArray[np.bool_]) -> Square:
    """A square (s, s, 3) with these blocks (SIDE, SIDE) blurred."""
    image = Image.fromarray(square.round().astype("uint8"))
    smooth = np.asarray(image.filter(ImageFilter.GaussianBlur(SIGMA)), "float32")
    places = np.arange(len(square)) * SIDE // len(square)
    return np.where(blocks[places][:, places][..., np.newaxis], smooth, square)


def interval(values: NDArray[np.float64], seed: int = 0) -> tuple[float, float]:
    """The bootstrap interval of the mean of values (n,)."""
    rng = np.random.default_rng(seed)
    means = values[rng.integers(0, len(values), (2000, len(values)))].mean(axis=1)
    low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def shifts(
    explain: Explainer, network: Network, squares: Iterator[Square], count: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How far the logit moves against the verdict, (n,) each: highlighted, and random."""
    chosen, chance = [], []
    rng = np.random.default_rng(0)
    for square in progress.shown(squares, count, "blur", "images"):
        logit, heat, _ = explain(square)
        sign = 1.0 if logit > 0 else -1.0
        places = [highlighted(heat, sign), *(random_tenth(rng) for _ in range(DRAWS))]
        altered = network([blurred(square, one) for one in places])[:, 0]
        first, *others = sign * (logit - altered.astype("float64"))
        chosen.append(first)
        chance.append(np.mean(others))
    return np.array(chosen), np.array(chance)


def report(chosen: NDArray[np.float64], chance: NDArray[np.float64]) -> str:
    """The figures, in words."""
    low, high = interval(chosen - chance)
    return (
        f"{len(chosen)} images, {_count()} of {SIDE * SIDE} blocks blurred (sigma {SIGMA:g}): "
        f"the logit moves against the verdict by {chosen.mean():.3f} where the highlighted tenth "
        f"is blurred, by {chance.mean():.3f} for a random tenth; difference "
        f"{(chosen - chance).mean():+.3f} ({CONFIDENCE:.0%} interval {low:+.3f} to {high:+.3f}); "
        f"larger in {(chosen > chance).mean():.0%} of the images"
    )


def _count() -> int:
    return round(SHARE * SIDE * SIDE)


def _of(numbers: NDArray[np.intp]) -> NDArray[np.bool_]:
    blocks = np.zeros(SIDE * SIDE, bool)
    blocks[numbers] = True
    return blocks.reshape(SIDE, SIDE)


@command
def main() -> None:
    parser = argparse.ArgumentParser(prog="make deletion", description=__doc__)
    parser.add_argument("--detector", type=Path, default=paths.EXPORTED, help="a folder")
    parser.add_argument("--images", type=Path, default=paths.IMAGES, help="a folder of shards")
    parser.add_argument("--count", type=int, default=100, help="images of test, at most")
    chosen = parser.parse_args()
    if chosen.count < 1:
        raise PipelineError(f"--count: received {chosen.count}; it must be at least 1")
    told = description.read(chosen.detector)
    explain = Explainer(chosen.detector, told.explanation, told.image_size)
    total = min(chosen.count, shards.count(chosen.images, "test"))
    files = spread(chosen.images, "test", total)
    squares = (resized(decode(file.data), told.image_size) for file in files)
    network = Network(chosen.detector / description.NETWORK, [told.image_size])
    print(report(*shifts(explain, network, squares, total)))


if __name__ == "__main__":
    main()
