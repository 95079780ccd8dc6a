"""The dense layers of a detector in NumPy, and the slope of the logit that they give.

The arrays are those of `head.npz`, the list of layers that of `detector.json`; `exporting.head`
writes both.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Dense:
    """Layers from the features of an image (d,) to its logit.

    Args:
        layers: in order; each has a `kind`: `affine` (x * scale + offset), `dense`
            (x @ kernel + bias) or `leaky` (values below 0 times `slope`, 0 for ReLU).
        arrays: `scale_0`, `offset_0`, `kernel_1`, `bias_1`, …, by the number of the layer.
    """

    def __init__(self, layers: Sequence[Mapping[str, Any]], arrays: Mapping[str, Any]) -> None:
        self._layers = list(layers)
        self._arrays = {name: np.asarray(value, "float64") for name, value in arrays.items()}

    @property
    def linear(self) -> bool:
        """Whether the slope is the same for every image."""
        return not any(layer["kind"] == "leaky" for layer in self._layers)

    def logit(self, features: NDArray[Any]) -> float:
        """The logit of features (d,)."""
        return float(self._outputs(features)[-1][0])

    def slope(self, features: NDArray[Any]) -> Array:
        """The derivative (d,) of the logit by each of the features (d,)."""
        inputs = self._outputs(features)
        slope = np.ones(1)
        for number in reversed(range(len(self._layers))):
            layer = self._layers[number]
            if layer["kind"] == "dense":
                slope = self._arrays[f"kernel_{number}"] @ slope
            elif layer["kind"] == "affine":
                slope = slope * self._arrays[f"scale_{number}"]
            else:
                slope = slope * np.where(inputs[number] > 0, 1, layer["slope"])
        return slope

    def _outputs(self, features: NDArray[Any]) -> list[Array]:
        """The features, then what each layer gives."""
        found = [np.asarray(features, "float64")]
        for number, layer in enumerate(self._layers):
            x = found[-1]
            if layer["kind"] == "dense":
                x = x @ self._arrays[f"kernel_{number}"] + self._arrays[f"bias_{number}"]
            elif layer["kind"] == "affine":
                x = x * self._arrays[f"scale_{number}"] + self._arrays[f"offset_{number}"]
            else:
                x = np.where(x > 0, x, layer["slope"] * x)
            found.append(x)
        return found
