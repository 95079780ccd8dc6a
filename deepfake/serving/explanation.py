"""Where in an image its score comes from.

The network in a detector's folder gives activation maps behind the logit, `head.npz` has the layers
that turn them into the logit, and `detector.json` says how they are put together. The stage
`export` writes all three (`exporting.explanation`).
"""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from deepfake.common.errors import PipelineError
from deepfake.common.files import reading
from deepfake.data.images import resized
from deepfake.models.symmetries import undone
from deepfake.serving import description
from deepfake.serving.contributions import by_position, spread, statistics
from deepfake.serving.dense import Dense
from deepfake.serving.detector import Detector, Image, Prediction, to_explain

Heat = NDArray[np.float32]

_FAKE, _REAL = (230, 97, 1), (43, 131, 186)  # orange and blue: apart also for the colour-blind
_STRONG = 0.99  # quantile of the heat that is drawn in full colour


@dataclass(frozen=True, eq=False)
class Explanation:
    """Where the score of an image comes from.

    Attributes:
        prediction: of the image.
        heat: float32 (s, s), of the square that the network sees: above 0 where it speaks for fake,
            below 0 where it speaks for real, in units of the logit.
        base: the logit of an image that is average in everything; None for Grad-CAM.
        method: how the heat was found, in words.
        exact: whether `heat.sum() + base` is the logit.
        square: uint8 (s, s, 3), what the network sees.
    """

    prediction: Prediction
    heat: Heat
    base: float | None
    method: str
    exact: bool
    square: NDArray[np.uint8]

    def overlay(self, opacity: float = 0.6) -> Pillow.Image:
        """The square in grey, with what speaks for fake in orange and for real in blue.

        Args:
            opacity: of the strongest colour, in [0, 1].
        """
        if not 0 <= opacity <= 1:
            raise PipelineError(f"the opacity of an overlay is from 0 to 1; received {opacity}")
        grey = np.asarray(Pillow.fromarray(self.square).convert("L"), "float32")[..., np.newaxis]
        strongest = float(np.quantile(np.abs(self.heat), _STRONG)) or 1.0
        strength = np.clip(self.heat / strongest, -1, 1)[..., np.newaxis]
        colour = np.where(strength > 0, np.array(_FAKE, "float32"), np.array(_REAL, "float32"))
        share = opacity * np.abs(strength)
        mixed = (1 - share) * grey + share * colour
        return Pillow.fromarray(mixed.round().astype("uint8"))


def explain(detector: Detector, image: Image) -> Explanation:
    """Show where in an image the score of a detector comes from.

    Raises:
        PipelineError: the image is refused, or the detector cannot explain; the message says why.
    """
    explainer = _explainer(detector.folder.resolve(), detector.description.digest)
    name, pixels = to_explain(image)
    score = detector.score(pixels)
    prediction = Prediction(name, score, detector.verdict(score))
    square = resized(pixels, detector.description.image_size)
    _, heat, base = explainer(square)
    shown = square.round().astype("uint8")
    return Explanation(prediction, heat, base, explainer.method, explainer.exact, shown)


@lru_cache(maxsize=4)
def _explainer(folder: Path, digest: str) -> "Explainer":
    """The explainer of the detector that has this digest."""
    described = description.read(folder)
    if described.digest != digest:
        raise PipelineError(
            f"{folder} holds another detector than the one that was loaded from it: load it again"
        )
    return Explainer(folder, described.explanation, described.image_size)


class Explainer:
    """Finds the heat of images by the files of one folder; slow to make, so keep it.

    Args:
        folder: of an exported detector.
        how: the section `explanation` of its `detector.json`.
        image_size: pixels.

    Raises:
        PipelineError: the detector cannot explain its scores; the message says why.
    """

    def __init__(self, folder: Path, how: Mapping[str, Any], image_size: int) -> None:
        import openvino

        if how["method"] is None:
            raise PipelineError(f"the detector in {folder} cannot explain scores: {how['why']}")
        self.how = how
        with reading(folder / description.HEAD), np.load(folder / description.HEAD) as stored:
            self._arrays = dict(stored)
        self._head = Dense(how["layers"], self._arrays)
        core = openvino.Core()
        with reading(folder / description.WEIGHTS):
            network = core.read_model(folder / description.NETWORK)
        network.reshape([1, image_size, image_size, 3])
        settings = {"INFERENCE_PRECISION_HINT": "f32"}
        self._compiled = core.compile_model(network, "CPU", settings)
        self._outputs = range(len(network.outputs))
        self._one = threading.Lock()

    @property
    def exact(self) -> bool:
        """Whether heat and base add up to the logit."""
        return self.how["method"] == "contributions" and self._head.linear

    @property
    def method(self) -> str:
        """How the heat is found, in words."""
        if self.how["method"] == "grad_cam":
            return f"Grad-CAM at the layer {self.how['layer']}"
        way = "exact" if self.exact else "linearised at this image"
        return f"contribution of each position to the logit, {way}"

    def __call__(self, square: Heat) -> tuple[float, Heat, float | None]:
        """The logit of a square (s, s, 3), float32 in [0, 255]; its heat (s, s); and the base."""
        with self._one:
            found = self._compiled([np.ascontiguousarray(square)[np.newaxis]])
        logit, *maps = (found[number][0] for number in self._outputs)
        if self.how["method"] == "grad_cam":
            heat, base = spread(self._grad_cam(maps[0]), len(square)), None
        else:
            heat, base = self._contributions(maps, len(square))
        return float(logit[0]), heat.astype("float32"), base

    def _contributions(self, maps: list[Heat], size: int) -> tuple[NDArray[Any], float]:
        """The mean over the views of what each position adds to the logit, and the base."""
        views, names = self.how["views"], self.how["statistics"]
        reference = np.asarray(self._arrays["reference"], "float64")
        blocks = len(maps) // len(views)
        heat = np.zeros((size, size))
        for number, view in enumerate(views):
            shown = maps[number * blocks : (number + 1) * blocks]
            described = [statistics(names, block) for block in shown]
            slope = self._head.slope(
                np.concatenate([one for values in described for one in values])
            )
            found, start = np.zeros((size, size)), 0
            for block, its_values in zip(shown, described, strict=True):
                positions = np.zeros(block.shape[:2])
                for name, values in zip(names, its_values, strict=True):
                    part = slice(start, start + len(values))
                    positions += by_position(name, block, slope[part])
                    # Less the average image's share, which belongs to all positions alike.
                    positions -= slope[part] @ reference[part] / positions.size
                    start = part.stop
                found += spread(positions, size)
            heat += undone(found, view) / len(views)
        return heat, self._head.logit(reference)

    def _grad_cam(self, activations: Heat) -> NDArray[Any]:
        """The weighted sum (h, w) of the channels of activations (h, w, c), with its sign.

        A channel's weight is the mean slope of the logit by its positions (Selvaraju et al. 2017,
        arXiv 1610.02391).
        """
        if self.how["reduced_by"] == "mean":
            positions = activations.shape[0] * activations.shape[1]
            weights = self._head.slope(activations.mean(axis=(0, 1))) / positions
        else:
            slope = self._head.slope(activations.reshape(-1))
            weights = slope.reshape(activations.shape).mean(axis=(0, 1))
        return np.asarray(activations @ weights)
