"""The check of explanations by deletion: which blocks are blurred, and what is reported."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from benchmarks import deletion

SIZE = 96


def test_the_blocks_that_speak_for_the_verdict_are_highlighted() -> None:
    heat = np.zeros((SIZE, SIZE), "float32")
    heat[:12, :12], heat[-12:, -12:] = 1, -1
    assert deletion.highlighted(heat, 1)[:3, :3].all()
    assert deletion.highlighted(heat, -1)[-3:, -3:].all()
    assert deletion.highlighted(heat, 1).sum() == round(0.1 * deletion.SIDE**2)
    assert deletion.random_tenth(np.random.default_rng(0)).sum() == round(0.1 * deletion.SIDE**2)


def test_only_the_blocks_are_blurred() -> None:
    square = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3)).astype("float32")
    blocks = np.zeros((deletion.SIDE, deletion.SIDE), bool)
    blocks[0, 1] = True
    changed = (deletion.blurred(square, blocks) != square).any(axis=2)
    assert changed[:4, 4:8].any()
    changed[:4, 4:8] = False
    assert not changed.any()


class Bright:
    """A detector whose logit is the variance in the upper left corner, and its explanation."""

    def __call__(self, square: np.ndarray) -> tuple[float, np.ndarray, None]:
        heat = np.zeros(square.shape[:2], "float32")
        heat[:30, :30] = 1
        return float(self.logits([square])[0, 0]), heat, None

    def logits(self, squares: Sequence[np.ndarray]) -> np.ndarray:
        return np.array([[one[:30, :30].var() / 1000] for one in squares])


def test_a_right_explanation_moves_the_logit_more() -> None:
    rng = np.random.default_rng(0)
    squares = iter(rng.integers(0, 256, (4, SIZE, SIZE, 3)).astype("float32"))
    bright: Any = Bright()
    network: Any = bright.logits
    chosen, chance = deletion.shifts(bright, network, squares, 4)
    assert (chosen > 5 * chance).all()
    told = deletion.report(chosen, chance)
    assert "larger in 100% of the images" in told
    low, high = deletion.interval(chosen - chance)
    assert low <= (chosen - chance).mean() <= high
    assert low == pytest.approx(high, rel=0.2)
