"""What positions add to the logit: sums that must hold for any activations."""

import numpy as np
import pytest

from deepfake.serving.contributions import by_position, spread, statistics


def activations(seed: int = 0) -> np.ndarray:
    """(5, 7, 4) with one dead channel."""
    found = np.random.default_rng(seed).normal(1, 2, (5, 7, 4)).astype("float32")
    found[..., 2] = 0
    return found


@pytest.mark.parametrize("name", ["mean", "std", "covariance"])
def test_shares_of_the_positions_add_up_to_the_statistic(name: str) -> None:
    shown = activations()
    (values,) = statistics([name], shown)
    slope = np.random.default_rng(1).normal(size=len(values)) * 1e6  # also where nothing varies
    found = by_position(name, shown, slope)
    assert found.shape == (5, 7)
    assert found.sum() == pytest.approx(slope @ values, rel=1e-9)


@pytest.mark.parametrize("name", ["mean", "std", "covariance"])
def test_a_position_that_stands_out_has_the_share(name: str) -> None:
    shown = np.zeros((4, 4, 2), "float32")
    shown[1, 2] = 3, 3
    (values,) = statistics([name], shown)
    found = by_position(name, shown, np.ones(len(values)))
    assert np.unravel_index(found.argmax(), found.shape) == (1, 2)


def test_statistics_are_those_of_the_embeddings() -> None:
    shown = activations()
    rows = shown.reshape(-1, 4)
    mean, std, covariance = statistics(["mean", "std", "covariance"], shown)
    np.testing.assert_allclose(mean, rows.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(std, np.maximum(rows.std(axis=0), 1e-6), rtol=1e-5)
    full = np.cov(rows.T, bias=True)
    np.testing.assert_allclose(covariance, full[np.triu_indices(4)], rtol=1e-5, atol=1e-12)


@pytest.mark.parametrize("size", [12, 13, 96])
def test_spreading_keeps_the_sum_and_the_place(size: int) -> None:
    heat = np.zeros((6, 5))
    heat[4, 1] = 2.5
    found = spread(heat, size)
    assert found.shape == (size, size)
    assert found.sum() == pytest.approx(2.5)
    row, column = np.unravel_index(found.argmax(), found.shape)
    assert 4 <= (row + 0.5) * 6 / size <= 5
    assert 1 <= (column + 0.5) * 5 / size <= 2


def test_spreading_an_even_map_gives_an_even_map() -> None:
    np.testing.assert_allclose(spread(np.ones((6, 6)), 24), 36 / 24**2)
