"""The sections `backbone`, `embed` and `train`: how the image model is made."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from deepfake.common.labels import VIEWS
from deepfake.params.base import (
    MOST_LAYERS,
    Count,
    Fraction,
    Positive,
    Section,
    Units,
    Whole,
    described,
    distinct,
)

ALPHAS = (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)

ImageSide = Annotated[int, Field(ge=32, le=1024)]
HiddenLayers = Annotated[list[Units], Field(max_length=MOST_LAYERS)]
LayerNames = Annotated[list[str], Field(min_length=1, max_length=200), AfterValidator(distinct)]
Schedule = Literal["constant", "cosine", "plateau"]
SCHEDULES = (
    "learning rate over the epochs; plateau: a tenth after 5 epochs without a lower validation loss"
)


def _known_width(alpha: float) -> float:
    if alpha not in ALPHAS:
        raise ValueError(f"must be one of {', '.join(map(str, ALPHAS))}")
    return alpha


def _known_view(view: str) -> str:
    if view not in VIEWS:
        raise ValueError(f"must be one of {', '.join(VIEWS)}")
    return view


def _penalty(value: object) -> object:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if value != "auto" and not (number and 0 <= value <= 1e6):  # type: ignore[operator]
        raise ValueError("must be auto or a number from 0 to 1e6")
    return float(value) if isinstance(value, int) else value


class BackboneParams(Section):
    """The network that sees the images, and the weights that it begins with."""

    name: Literal[
        "MobileNetV2", "EfficientNetV2B0", "ResNet50", "MobileNetV3Large", "ConvNeXtTiny"
    ] = described("network of `keras.applications`")
    weights: Literal["auto", "imagenet", "random"] = described(
        "auto: ImageNet where they are available, else random"
    )
    alpha: Annotated[float, AfterValidator(_known_width)] = described(
        f"width of MobileNetV2, one of {', '.join(map(str, ALPHAS))}; of MobileNetV3Large 0.75 or "
        "1.0; of the others 1.0"
    )
    image_size: ImageSide = described("side in pixels of the square that images are resized to")
    precision: Literal["auto", "float32", "mixed_float16", "mixed_bfloat16"] = described(
        "arithmetic of `embed` and of training on images; auto: mixed_float16 on a capable GPU, "
        "else float32"
    )


class DrawParams(Section):
    """Altered versions of the images of `train`, embedded beside them."""

    draws: Annotated[int, Field(ge=0, le=100)] = described(
        "altered versions of each training image that the head learns from, too"
    )
    shrink: Fraction = described("share of them that are shrunk to 0.4 to 1 of their size and back")
    blur: Fraction = described("share of them that are blurred, with sigma 0.2 to 1.2 pixels")
    jpeg: Fraction = described("share of them that are compressed at JPEG quality 50 to 95, last")


class EmbedParams(Section):
    """What of the activations of the network is kept for each image."""

    layers: LayerNames = described(
        "layers of the backbone whose activations are described, by Keras's names; of MobileNetV2: "
        "Conv1_relu, block_1_expand_relu to block_16_project_BN, out_relu and those between"
    )
    pooling: Literal["covariance", "mean_std", "average"] = described(
        "what is kept of a layer's activations over the positions of the image: means and "
        "covariances of the channels, means and standard deviations, or means"
    )
    scales: Annotated[
        list[Annotated[float, Field(ge=0.1, le=1)]],
        Field(min_length=1, max_length=20),
        AfterValidator(distinct),
    ] = described("sizes, as fractions of `image_size`, at which the network sees the image")
    views: Annotated[
        list[Annotated[str, AfterValidator(_known_view)]],
        Field(min_length=1),
        AfterValidator(distinct),
    ] = described(
        f"symmetries in which the network sees the image: {', '.join(VIEWS)}; a score is the "
        "average over them"
    )
    engine: Literal["auto", "openvino", "tensorflow"] = described(
        "auto: TensorFlow if there is a GPU, else OpenVINO"
    )
    batch_size: Count = described("images per batch with TensorFlow (OpenVINO takes one at a time)")
    augment: DrawParams

    @property
    def statistics(self) -> tuple[str, ...]:
        """The statistics of `models.pooling` that `pooling` stands for, in order."""
        return {
            "covariance": ("mean", "covariance"),
            "mean_std": ("mean", "std"),
            "average": ("mean",),
        }[self.pooling]


class AugmentParams(Section):
    """How images are altered at random while a network is trained on them."""

    flip: bool = described("mirror half of the images")
    rotation: Annotated[float, Field(ge=0, le=180)] = described(
        "largest rotation in degrees, in either direction"
    )
    shear: Annotated[float, Field(ge=0, le=60)] = described(
        "most that an image is leaned over, in degrees, in either direction"
    )
    zoom: Annotated[float, Field(ge=0, le=0.5)] = described(
        "most that an image is enlarged or shrunk, as a fraction of its size"
    )
    shift: Annotated[float, Field(ge=0, lt=1)] = described(
        "most that an image is shifted, as a fraction of its side, either way"
    )
    contrast: Annotated[float, Field(ge=0, lt=1)] = described(
        "most that contrast is raised or lowered, as a fraction"
    )
    jpeg: Fraction = described(
        "share of images that are compressed again, at JPEG quality 50 to 95"
    )


class FineTuneParams(Section):
    """Training the last layers of the backbone after the head of `probe`."""

    epochs: Whole = described("most epochs of fine-tuning; 0: the backbone stays frozen")
    from_layer: str = described("first layer of MobileNetV2 that is trained; all: every layer")
    learning_rate: Positive = described("learning rate of Adam")
    batch_size: Count = described("images per step")
    patience: Count = described("epochs without a better validation ROC-AUC before stopping")
    augment: AugmentParams


class TransferParams(Section):
    """The recipe `transfer`: a backbone with a new head, trained on images in two phases."""

    input_size: ImageSide = described("side in pixels of the square that images are resized to")
    scaling: Literal["own", "unit", "symmetric"] = described(
        "pixels as the network sees them; own: as its ImageNet weights expect, unit: 0 to 1, "
        "symmetric: -1 to 1"
    )
    units: HiddenLayers = described("units of each hidden layer behind the average pooling")
    batch_norm: bool = described("batch normalisation between the pooling and the hidden layers")
    dropout: Annotated[list[Annotated[float, Field(ge=0, lt=1)]], Field(max_length=MOST_LAYERS)] = (
        described("share of units left out after each hidden layer, one value for each")
    )
    epochs: Count = described("most epochs of the head on the frozen backbone")
    learning_rate: Positive = described("learning rate of Adam for the head")
    batch_size: Count = described("images per step")
    patience: Count = described("epochs without a better validation ROC-AUC before stopping")
    schedule: Schedule = described(SCHEDULES)
    unfreeze_from: str = described(
        "first block of the backbone that is trained in the second phase; all: every block"
    )
    unfreeze_epochs: Whole = described(
        "most epochs of the second phase; 0: the backbone stays frozen"
    )
    unfreeze_learning_rate: Positive = described("learning rate of Adam in the second phase")
    augment: AugmentParams

    @model_validator(mode="after")
    def _one_dropout_a_layer(self) -> "TransferParams":
        if len(self.dropout) != len(self.units):
            raise ValueError(
                f"dropout {self.dropout} must have one value for each of units {self.units}"
            )
        return self


class CnnParams(Section):
    """The recipe `cnn`: a small network, trained from scratch."""

    input_size: ImageSide = described("side in pixels of the square that images are resized to")
    scaling: Positive = described("number that pixels are divided by")
    layers: Annotated[
        list[Annotated[str, Field(max_length=100)]], Field(min_length=1, max_length=200)
    ] = described("layers from the pixels to `d1`; docs/recipes.md says how they are written")
    epochs: Count = described("largest number of epochs")
    learning_rate: Positive = described("learning rate of Adam")
    batch_size: Count = described("images per step")
    patience: Count = described("epochs without a better validation ROC-AUC before stopping")
    schedule: Schedule = described(SCHEDULES)


class TrainParams(Section):
    """How the image model is made: the recipe, the head of `probe`, and the other recipes."""

    recipe: Literal["probe", "transfer", "cnn"] = described(
        "probe: a head on the embeddings; transfer: a backbone with a head, on images; cnn: a "
        "small network from scratch. `transfer` and `cnn` read their own section, `class_weight` "
        "and nothing else of `train`"
    )
    hidden: HiddenLayers = described("units of each hidden layer of the head")
    dropout: Annotated[float, Field(ge=0, lt=1)] = described(
        "share of units left out after each hidden layer"
    )
    batch_norm: bool = described("normalise each hidden layer over the batch, before ReLU")
    weight_decay: Annotated[float | str, BeforeValidator(_penalty)] = described(
        "L2 penalty on the weights of the head, from 0; auto: by cross-validation on train"
    )
    learning_rate: Positive = described("learning rate of Adam; a linear head is solved exactly")
    schedule: Literal["constant", "cosine"] = described(
        "learning rate over the epochs, also in `fine_tune`"
    )
    batch_size: Count = described("rows of embeddings per step")
    epochs: Count = described("largest number of epochs; a linear head needs none")
    patience: Count = described("epochs without a better validation ROC-AUC before stopping")
    class_weight: Literal["none", "balanced"] = described(
        "balanced: weight the loss so that both classes count the same"
    )
    fine_tune: FineTuneParams
    transfer: TransferParams
    cnn: CnnParams

    @property
    def linear(self) -> bool:
        """Whether the head is a logistic regression, which is solved and not trained by epochs."""
        return not self.hidden

    @property
    def penalty(self) -> float | None:
        """The L2 penalty; None if cross-validation chooses it."""
        return None if isinstance(self.weight_decay, str) else self.weight_decay

    @model_validator(mode="after")
    def _consistent(self) -> "TrainParams":
        if self.recipe == "probe" and self.hidden and self.penalty is None:
            raise ValueError(
                "weight_decay: auto needs a linear head (hidden: []); give a number instead"
            )
        return self
