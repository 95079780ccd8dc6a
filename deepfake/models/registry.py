"""The backbones that `backbone.name` may name: how each is built, fed and divided into blocks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deepfake.common.errors import PipelineError
from deepfake.models import mobilenet_v2, pretrained
from deepfake.params import ALPHAS, BackboneParams

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's pixels in [0, 1]
_STANDARD: dict[str, Any] = {
    "scale": tuple(1 / (255 * std) for std in _STD),
    "offset": tuple(-mean / std for mean, std in zip(_MEAN, _STD, strict=True)),
}
_SYMMETRIC: dict[str, Any] = {"scale": 1 / 127.5, "offset": -1.0}


@dataclass(frozen=True)
class Backbone:
    """A network of `keras.applications`.

    Attributes:
        model_name: the name that Keras gives the network.
        blocks: its blocks in order, by what the names of their layers begin with.
        weights_file: the file of ImageNet's weights in Keras's cache; `{alpha}` is the width.
        weights_folder: where Keras downloads that file from, below `WEIGHTS_ADDRESS`.
        scale, offset: the network takes `pixels * scale + offset`, pixels in [0, 255]; one number,
            or one for each channel.
        bgr: whether it takes the channels in the order blue, green, red.
        widths: the values of `backbone.alpha` that it has.
        options: of the constructor.
    """

    model_name: str
    blocks: tuple[str, ...]
    weights_file: str
    weights_folder: str
    scale: float | tuple[float, ...]
    offset: float | tuple[float, ...]
    bgr: bool = False
    widths: tuple[float, ...] = (1.0,)
    options: Mapping[str, Any] = field(default_factory=dict)


def _numbered(name: str, numbers: Sequence[int]) -> tuple[str, ...]:
    return tuple(f"{name}{number}" for number in numbers)


WEIGHTS_ADDRESS = "https://storage.googleapis.com/tensorflow/keras-applications"
_UNSCALED = {"include_preprocessing": False}  # pixels are scaled here, for all alike

BACKBONES = {
    # Sandler et al. 2018, arXiv 1801.04381
    "MobileNetV2": Backbone(
        model_name="mobilenet_v2",
        blocks=("Conv1", "expanded_conv", *_numbered("block_", range(1, 17)), "Conv_1"),
        weights_file=mobilenet_v2.WEIGHTS_FILE,
        weights_folder="mobilenet_v2",
        widths=ALPHAS,
        **_SYMMETRIC,
    ),
    # Tan and Le 2021, arXiv 2104.00298
    "EfficientNetV2B0": Backbone(
        model_name="efficientnetv2-b0",
        blocks=(
            "stem",
            "block1a",
            "block2a",
            "block2b",
            "block3a",
            "block3b",
            *(f"block{block}" for block in ("4a", "4b", "4c", "5a", "5b", "5c", "5d", "5e")),
            *(f"block6{letter}" for letter in "abcdefgh"),
            "top",
        ),
        weights_file="efficientnetv2-b0_notop.h5",
        weights_folder="efficientnet_v2",
        options=_UNSCALED,
        **_STANDARD,
    ),
    # He et al. 2015, arXiv 1512.03385
    "ResNet50": Backbone(
        model_name="resnet50",
        blocks=(
            "conv1",
            *_numbered("conv2_block", range(1, 4)),
            *_numbered("conv3_block", range(1, 5)),
            *_numbered("conv4_block", range(1, 7)),
            *_numbered("conv5_block", range(1, 4)),
        ),
        weights_file="resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5",
        weights_folder="resnet",
        scale=1.0,
        offset=(-103.939, -116.779, -123.68),
        bgr=True,
    ),
    # Howard et al. 2019, arXiv 1905.02244
    "MobileNetV3Large": Backbone(
        model_name="MobileNetV3Large",
        blocks=("conv", "expanded_conv", *_numbered("expanded_conv_", range(1, 15)), "conv_1"),
        weights_file="weights_mobilenet_v3_large_224_{alpha}_float_no_top_v2.h5",
        weights_folder="mobilenet_v3",
        widths=(0.75, 1.0),
        options=_UNSCALED,
        **_SYMMETRIC,
    ),
    # Liu et al. 2022, arXiv 2201.03545
    "ConvNeXtTiny": Backbone(
        model_name="convnext_tiny",
        blocks=(
            "convnext_tiny_stem",
            *(
                f"convnext_tiny_stage_{stage}_block_{block}"
                for stage, blocks in enumerate((3, 3, 9, 3))
                for block in range(blocks)
            ),
        ),
        weights_file="convnext_tiny_notop.h5",
        weights_folder="convnext",
        options=_UNSCALED,
        **_STANDARD,
    ),
}


def build(chosen: BackboneParams, weights: str | None, precision: str = "float32") -> Any:
    """The network without its classifier, with ImageNet's weights or (None) Keras's random ones."""
    known = BACKBONES[chosen.name]
    width = {"alpha": chosen.alpha} if len(known.widths) > 1 else {}
    return pretrained.build(
        chosen.name, precision, weights=weights, name=known.model_name, **width, **known.options
    )


def initial(chosen: BackboneParams) -> tuple[Any, str]:
    """The network with the weights that `backbone.weights` asks for, and which these are; see
    `pretrained.initial`."""
    return pretrained.initial(
        chosen.weights,
        lambda source: build(chosen, source),
        imagenet_file(chosen),
        lambda pixels: preprocessed(pixels, BACKBONES[chosen.name].model_name),
    )


def load(path: Path | str, chosen: BackboneParams, precision: str = "float32") -> Any:
    """The network with the weights that the `backbone` stage wrote to `path`."""
    return pretrained.load(path, build(chosen, None, precision))


def imagenet_file(chosen: BackboneParams) -> Path:
    """Where Keras keeps the ImageNet weights of the network, once it has them."""
    return pretrained.cached(BACKBONES[chosen.name].weights_file.format(alpha=chosen.alpha))


def imagenet_address(chosen: BackboneParams) -> str:
    """Where Keras downloads the ImageNet weights of the network from."""
    folder = BACKBONES[chosen.name].weights_folder
    return f"{WEIGHTS_ADDRESS}/{folder}/{imagenet_file(chosen).name}"


def preprocessed(pixels: Any, model_name: str) -> Any:
    """Scale pixels as a network expects them.

    Args:
        pixels: float32 (batch, height, width, 3) in [0, 255], a Keras tensor.
        model_name: of the Keras model.
    """
    import keras

    known = next(item for item in BACKBONES.values() if item.model_name == model_name)
    ordered = pixels[..., ::-1] if known.bgr else pixels
    layer = keras.layers.Rescaling(known.scale, known.offset, dtype="float32", name="scale")
    return layer(ordered)


def unfreeze(model: Any, name: str, block: str) -> None:
    """Train the layers of a network from the first one of `block` on (`all`: every layer).

    Batch-norm stays frozen.

    Raises:
        PipelineError: the network has no such block.
    """
    import keras

    check_block(name, block)
    start = 0
    if block != "all":
        names = [layer.name for layer in model.layers]
        start = next(i for i, one in enumerate(names) if f"{one}_".startswith(f"{block}_"))
    model.trainable = True
    for number, layer in enumerate(model.layers):
        layer.trainable = number >= start and not isinstance(layer, keras.layers.BatchNormalization)


def check_block(name: str, block: str) -> None:
    """Refuse a block that the network does not have (`all` is allowed); raises PipelineError."""
    if block not in ("all", *BACKBONES[name].blocks):
        raise PipelineError(
            f"train.transfer.unfreeze_from: received {block!r}; the blocks of {name} are "
            f"{', '.join(BACKBONES[name].blocks)}; all: every block"
        )


def check_width(chosen: BackboneParams) -> None:
    """Refuse a width that the network does not have; raises PipelineError."""
    widths = BACKBONES[chosen.name].widths
    if chosen.alpha not in widths:
        raise PipelineError(
            f"backbone.alpha: received {chosen.alpha}; {chosen.name} has the "
            f"{'widths' if len(widths) > 1 else 'width'} {', '.join(map(str, widths))}"
        )


def check_layers(chosen: BackboneParams, described: Sequence[str]) -> Any:
    """Refuse a layer of `embed.layers` that the network does not have.

    Builds the network, for all but MobileNetV2; see `mobilenet_v2.check_layers`.

    Returns:
        The network.

    Raises:
        PipelineError: naming the layer and those that are there.
    """
    model = build(chosen, None)
    # Those with a map of the image; some have a vector.
    names = [layer.name for layer in model.layers[1:] if len(layer.output.shape) == 4]
    for layer in described:
        if layer not in names:
            raise PipelineError(
                f"embed.layers: {chosen.name} has no layer {layer!r}; it has {', '.join(names)}"
            )
    return model


def shapes(model: Any, described: Sequence[str], image_size: int) -> dict[str, tuple[int, int]]:
    """Positions and channels of layers, for an image of this size in pixels.

    Raises:
        PipelineError: the image is too small for the network.
    """
    import keras

    outputs = [model.get_layer(name).output for name in described]
    described_model = keras.Model(model.inputs, outputs)
    try:
        found = described_model.compute_output_shape((1, image_size, image_size, 3))
    except ValueError as error:  # a kernel that is larger than what it is applied to
        raise PipelineError(
            f"backbone.image_size: {model.name} cannot see an image of {image_size} pixels "
            f"({' '.join(str(error).split())[:200]}): raise it, or embed.scales"
        ) from None
    listed = [found] if len(described) == 1 and not isinstance(found, list) else found
    return {
        name: (int(shape[1]) * int(shape[2]), int(shape[3]))
        for name, shape in zip(described, listed, strict=True)
    }
