"""What an exported network needs so that its scores can be explained without Keras.

For the recipe `probe`, the activations that the head describes, of each view, scale and layer; for
the others, the map that the dense layers begin with. `serving.explanation` reads it.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from deepfake.exporting.head import Arrays, UnknownLayer, dense_layers, standard_deviation
from deepfake.models import pooling, registry
from deepfake.models.symmetries import seen
from deepfake.params import EmbedParams


@dataclass(frozen=True)
class Explainable:
    """A network with what explains its scores.

    Attributes:
        network: a Keras model from float32 pixels (batch, s, s, 3) in [0, 255] to a list: the
            logit (batch, 1), then activation maps (batch, h, w, c).
        description: the section `explanation` of `detector.json`.
        arrays: of `head.npz`.
    """

    network: Any
    description: dict[str, Any]
    arrays: Arrays


def explainable(classify: Any, recipe: str, embed: EmbedParams) -> Explainable:
    """Add the activation maps to a detector's network.

    Where a layer is in the way, the network has no maps, and the description says why.

    Args:
        classify: the model `classify` of the detector, from pixels to P(fake).
        recipe: `probe`, `transfer` or `cnn`.
        embed: how the embeddings were made; used for `probe` alone.
    """
    import keras

    try:
        return _of_statistics(classify, embed) if recipe == "probe" else _of_one_map(classify)
    except UnknownLayer as error:
        logit = classify.get_layer("score").input
        network = keras.Model(classify.input, [logit], name="network")
        return Explainable(network, {"method": None, "why": str(error)}, {})


def _of_statistics(classify: Any, embed: EmbedParams) -> Explainable:
    """For a head on statistics: the same computation again, with the activations as outputs."""
    import keras
    from keras import ops

    square, head = classify.input, classify.get_layer("head")
    shown_once = _of_one_view(classify.get_layer("features"), head, embed)
    logits, maps = [], []
    for view in embed.views:
        logit, *shown = shown_once(seen(square, view))
        logits.append(logit)
        maps += shown
    mean = ops.mean(ops.stack(logits), axis=0) if len(logits) > 1 else logits[0]
    network = keras.Model(square, [mean, *maps], name="network")

    layers, arrays = dense_layers(head.layers[1:])
    arrays["reference"] = np.ravel(head.get_layer("standardise").mean).astype("float32")
    description = {
        "method": "contributions",
        "views": list(embed.views),
        "scales": list(embed.scales),
        "activations": list(embed.layers),  # of each scale of each view, in this order
        "statistics": list(embed.statistics),
        "layers": layers,
    }
    return Explainable(network, description, arrays)


def _of_one_view(features: Any, head: Any, embed: EmbedParams) -> Any:
    """As `pooling.features` with the head behind it: from pixels to the logit, then the activations
    of each scale and layer."""
    import keras
    from keras import ops

    trunk = next(layer for layer in features.layers if isinstance(layer, keras.Model))
    pixels = features.input
    scaled = registry.preprocessed(pixels, trunk.name)
    described, maps = [], []
    for scale in embed.scales:
        outputs = trunk(_shrunk(scaled, scale), training=False)
        for output in outputs if isinstance(outputs, list | tuple) else [outputs]:
            maps.append(ops.cast(output, "float32"))
            described += [pooling.statistic(name, output) for name in embed.statistics]
    x = ops.concatenate(described, axis=-1) if len(described) > 1 else described[0]
    standardise, *others = head.layers[1:]
    # In plain operations: converters take Keras's layer for inputs of the network.
    x = (x - np.asarray(standardise.mean)) / standard_deviation(standardise)
    for layer in others:
        x = layer(x)
    return keras.Model(pixels, [x, *maps], name="one_view")


def _shrunk(pixels: Any, scale: float) -> Any:
    """Square images (batch, s, s, c), resized to `scale` as `pooling.resized` does it, by products
    of matrices: converters do not know antialiasing."""
    from keras import ops

    before = pixels.shape[1]
    after = round(scale * before)
    if after == before:
        return pixels
    one = Image.fromarray(np.eye(before, dtype="float32"))
    rows = np.asarray(one.resize((before, after), Image.Resampling.BILINEAR))
    return ops.einsum("ai,bj,nijc->nabc", rows, rows, pixels)


def _of_one_map(classify: Any) -> Explainable:
    """For dense layers behind one map: that map, for Grad-CAM."""
    import keras

    layers = list(classify.layers)
    kinds = (keras.layers.GlobalAveragePooling2D, keras.layers.Flatten)
    place = next((n for n, layer in enumerate(layers) if isinstance(layer, kinds)), None)
    if place is None:
        raise UnknownLayer("it has no layer that pools or flattens a map")
    described, arrays = dense_layers([one for one in layers[place + 1 :] if one.name != "score"])
    logit = classify.get_layer("score").input
    network = keras.Model(classify.input, [logit, layers[place].input], name="network")
    description = {
        "method": "grad_cam",
        "layer": layers[place - 1].name,
        "reduced_by": "flatten" if isinstance(layers[place], keras.layers.Flatten) else "mean",
        "layers": described,
    }
    return Explainable(network, description, arrays)
