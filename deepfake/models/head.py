"""The head of the image model in NumPy: standardisation, hidden layers, one logit.

It scores embeddings without starting TensorFlow. `training.head_training` makes it.
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
    def untrained(cls, dimensions: int, hidden: Sequence[int] = ()) -> "Head":
        """A head of zeros for features of mean 0 and variance 1: every score is 0.5."""
        sizes = [dimensions, *hidden, 1]
        return cls(
            np.zeros(dimensions, "float32"),
            np.ones(dimensions, "float32"),
            [np.zeros(shape, "float32") for shape in pairwise(sizes)],
            [np.zeros(n, "float32") for n in sizes[1:]],
        )

    @property
    def hidden(self) -> list[int]:
        return [kernel.shape[1] for kernel in self.kernels[:-1]]

    @property
    def weights(self) -> list[Array]:
        """Kernel and bias of each layer."""
        pairs = zip(self.kernels, self.biases, strict=True)
        return [weight for pair in pairs for weight in pair]

    def standardised(self, features: np.ndarray) -> Array:
        """Features (n, d) less the mean, divided by the standard deviation (at least Keras's
        epsilon), as Keras's `Normalization` layer computes them."""
        std = np.maximum(np.sqrt(self.variance), _EPSILON)
        centred = np.asarray(features - self.mean, dtype="float32")
        centred /= std
        return centred

    def logits(self, features: np.ndarray) -> Array:
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
