"""The head of the image model in NumPy: standardisation, hidden layers, one logit.

In NumPy, because training it on embeddings (`training.head_training`) takes less time than starting
TensorFlow.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from deepfake.data.array_file import ArrayFile
from deepfake.data.embeddings import parts

Array = NDArray[np.float32]
_EPSILON = np.float32(1e-7)  # of Keras
_CONSTANT = 1e-5  # a standard deviation below this share of the mean is rounding, not signal


def moments(features: np.ndarray | ArrayFile) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation (d,) over images and views of (n, views, d)."""
    count, total, squares = 0, 0.0, 0.0
    # Subtracting the first row keeps the squares small, so that their difference keeps its digits.
    shift = features[:1].reshape(-1, features.shape[-1])[0].astype("float64")
    for part in parts(features):
        wide = part.astype("float64") - shift
        count += len(wide)
        total = total + wide.sum(axis=0)
        squares = squares + (wide**2).sum(axis=0)
    mean = total / count
    return mean + shift, np.sqrt(np.maximum(squares / count - mean**2, 0))


def standardisation(mean: np.ndarray, std: np.ndarray) -> tuple[Array, Array]:
    """Mean and variance (d,) float32 for `Head`. A constant feature gets variance 1: it stays near
    0 instead of becoming amplified noise."""
    constant = std <= _CONSTANT * np.abs(mean) + np.finfo("float32").tiny
    return mean.astype("float32"), np.where(constant, 1, std**2).astype("float32")


@dataclass
class Head:
    """Standardisation, then dense layers with ReLU between them; all arrays are float32.

    Attributes:
        mean: of the features, (d,).
        variance: of the features, (d,).
        kernels: (inputs, units) of each layer; the last has one unit, the logit.
        biases: (units,) of each layer.
    """

    mean: Array
    variance: Array
    kernels: list[Array]
    biases: list[Array]

    @classmethod
    def create(
        cls, mean: Array, variance: Array, hidden: Sequence[int], generator: np.random.Generator
    ) -> "Head":
        """An untrained head: hidden kernels are drawn as by Glorot and Bengio 2010, the logit's are
        zero, so that every score is 0.5."""
        sizes = [len(mean), *hidden, 1]
        kernels = []
        for inputs, units in pairwise(sizes):
            limit = np.sqrt(6 / (inputs + units))
            drawn = generator.uniform(-limit, limit, (inputs, units))
            kernels.append(drawn.astype("float32"))
        kernels[-1] = np.zeros_like(kernels[-1])
        return cls(mean, variance, kernels, [np.zeros(n, "float32") for n in sizes[1:]])

    @classmethod
    def untrained(cls, dimensions: int, hidden: Sequence[int] = ()) -> "Head":
        """A head for features of mean 0 and variance 1."""
        moments = np.zeros(dimensions, "float32"), np.ones(dimensions, "float32")
        return cls.create(*moments, hidden, np.random.default_rng(0))

    @property
    def hidden(self) -> list[int]:
        return [kernel.shape[1] for kernel in self.kernels[:-1]]

    @property
    def weights(self) -> list[Array]:
        """Kernel and bias of each layer: what training changes."""
        pairs = zip(self.kernels, self.biases, strict=True)
        return [weight for pair in pairs for weight in pair]

    def standardised(self, features: Array) -> Array:
        """Features (n, d) less the mean, divided by the standard deviation (at least Keras's
        epsilon), as Keras's `Normalization` layer computes them."""
        std = np.maximum(np.sqrt(self.variance), _EPSILON)
        centred = np.asarray(features - self.mean, dtype="float32")
        centred /= std
        return centred

    def logits(self, features: Array) -> Array:
        """Logits (n,) of features (n, d)."""
        x = self.standardised(features)
        for kernel, bias in zip(self.kernels[:-1], self.biases[:-1], strict=True):
            x = np.maximum(x @ kernel + bias, 0)
        return np.asarray((x @ self.kernels[-1] + self.biases[-1])[:, 0])

    def averaged(self, features: np.ndarray | ArrayFile) -> Array:
        """Logits (n,) of embeddings (n, views, d), averaged over the views."""
        found = np.concatenate([self.logits(part) for part in parts(features)])
        return np.asarray(found.reshape(-1, features.shape[1]).mean(axis=1))

    def scores(self, features: np.ndarray | ArrayFile) -> NDArray[np.float64]:
        """P(fake) (n,) of embeddings (n, views, d)."""
        return np.asarray(1 / (1 + np.exp(-self.averaged(features).astype("float64"))))
