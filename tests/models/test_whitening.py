"""Whitening of covariance features."""

import numpy as np
import pytest

from deepfake.models import whitening
from deepfake.models.whitening import Whitener, full, width

CHANNELS = [3, 5]


@pytest.fixture
def raw():
    """Raw features (40, 2, d) of layers whose channels are correlated."""
    rng = np.random.default_rng(0)
    images = []
    for _ in range(80):
        blocks = []
        for size in CHANNELS:
            x = rng.normal(size=(60, size)) @ (np.eye(size) + np.linspace(0, 2, size))
            blocks += [x.mean(axis=0), np.cov(x.T, bias=True)[np.triu_indices(size)]]
        images.append(np.concatenate(blocks))
    return np.array(images).reshape(40, 2, -1)


def blocks(features):
    """Mean and full covariance of each block."""
    found, end = [], 0
    for size in CHANNELS:
        start, end = end, end + width(size)
        found.append((features[start : start + size], full(features[start + size : end], size)))
    return found


def test_mean_covariance_becomes_the_identity(raw):
    whitener = Whitener.fit(raw, CHANNELS)
    average = whitener(raw.reshape(80, -1)).mean(axis=0)
    for (_, covariance), size in zip(blocks(average), CHANNELS, strict=True):
        upper = np.triu(np.ones((size, size)), 1) * np.sqrt(2)
        scale = upper + upper.T + np.eye(size)
        np.testing.assert_allclose(covariance / scale, np.eye(size), atol=2e-3)


def test_distances_are_those_of_the_whitened_matrices(raw):
    whitener = Whitener.fit(raw, CHANNELS)
    one, two = raw[0, 0], raw[7, 1]
    squared = 0.0
    for (m, c), (n, d), w in zip(blocks(one), blocks(two), whitener.matrices, strict=True):
        squared += ((w @ (m - n)) ** 2).sum() + ((w @ (c - d) @ w) ** 2).sum()
    mapped = whitener(np.stack([one, two]))
    assert ((mapped[0] - mapped[1]) ** 2).sum() == pytest.approx(squared)


def test_folded_kernel_gives_on_raw_features_what_the_kernel_gives_on_mapped_ones(raw):
    whitener, rows = Whitener.fit(raw, CHANNELS), raw.reshape(80, -1)
    kernel = np.random.default_rng(1).normal(size=(rows.shape[1], 4))
    np.testing.assert_allclose(rows @ whitener.folded(kernel), whitener(rows) @ kernel, rtol=1e-9)


def test_matrices_do_not_depend_on_signs_of_eigenvectors(raw, monkeypatch):
    eigh = np.linalg.eigh
    wanted = Whitener.fit(raw, CHANNELS).matrices

    def turned(matrix):
        values, vectors = eigh(matrix)
        return values, vectors * np.where(np.arange(len(values)) % 2, -1, 1)

    monkeypatch.setattr(np.linalg, "eigh", turned)
    for one, two in zip(Whitener.fit(raw, CHANNELS).matrices, wanted, strict=True):
        np.testing.assert_allclose(one, two, atol=1e-12)


def test_a_dead_layer_stays_finite(raw):
    dead = np.zeros_like(raw)
    assert np.isfinite(Whitener.fit(dead, CHANNELS)(dead.reshape(80, -1).astype("f"))).all()


@pytest.mark.slow
def test_keras_maps_as_numpy_does(raw):
    whitener, rows = Whitener.fit(raw, CHANNELS), raw.reshape(80, -1).astype("float32")
    found = whitening.as_keras(whitener, rows.shape[1])(rows)
    np.testing.assert_allclose(np.asarray(found), whitener(rows), rtol=1e-4, atol=1e-4)
