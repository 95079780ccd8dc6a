"""The typed schema of `params.yaml`: the one way in which parameters enter the program.

Unknown keys, wrong types and values out of range are refused before any work starts.
"""

import re
from collections.abc import Iterator
from difflib import SequenceMatcher
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from deepfake.common.errors import PipelineError
from deepfake.common.labels import VIEWS

_T = TypeVar("_T")

ALPHAS = (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)

Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]


def _known_width(alpha: float) -> float:
    if alpha not in ALPHAS:
        raise ValueError(f"must be one of {', '.join(map(str, ALPHAS))}")
    return alpha


def _known_view(view: str) -> str:
    if view not in VIEWS:
        raise ValueError(f"must be one of {', '.join(VIEWS)}")
    return view


def _distinct(values: list[_T]) -> list[_T]:
    if len(set(values)) != len(values):
        raise ValueError("lists a value twice")
    return values


def described(text: str) -> Any:
    """A required field with the description that docs/parameters.md shows."""
    return Field(description=text)


class Section(BaseModel):
    """A section of `params.yaml`: immutable, of exactly these keys and types."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class SampleParams(Section):
    train_per_class: Count = described("images of each class in train")
    valid_per_class: Count = described("images of each class in valid")
    test_per_class: Count = described("images of each class in test")
    size: Annotated[int, Field(ge=64, le=1024)] = described(
        "width and height of an image, in pixels"
    )
    strength: Annotated[float, Field(gt=0, le=4)] = described("how visible the manipulations are")


class KaggleParams(Section):
    dataset: Annotated[
        str, Field(pattern=r"^[A-Za-z0-9-]+/[A-Za-z0-9][A-Za-z0-9_-]*(/[1-9][0-9]*)?$")
    ] = described("owner/slug/version; without a version: the newest")


class ArchiveParams(Section):
    max_files: Count = described("files that a zip may list, and rows that a table may have")
    max_gigabytes: Positive = described("GB that all files of a zip may have together, unpacked")
    max_ratio: Annotated[float, Field(ge=1)] = described(
        "unpacked over packed size above which a file of a zip is refused"
    )


class CsvParams(Section):
    file: str | None = described("table inside the folder that names images and labels, or null")
    path_column: str = described(
        "its column with the path of the image, or its name without suffix"
    )
    label_column: str = described("its column with one of the names in `real` and `fake`")
    split_column: str | None = described("its column with train, valid or test, or null")


class FolderParams(Section):
    path: str = described("directory or zip; a relative path starts at the repository")
    real: Annotated[list[str], Field(min_length=1)] = described(
        "names of class folders or CSV labels that mean real, in any case"
    )
    fake: Annotated[list[str], Field(min_length=1)] = described(
        "names of class folders or CSV labels that mean fake, in any case"
    )
    csv: CsvParams
    valid_fraction: Fraction = described("share of valid, where the source has no splits")
    test_fraction: Fraction = described("share of test, where the source has no splits")

    @model_validator(mode="after")
    def _consistent(self) -> "FolderParams":
        if self.valid_fraction + self.test_fraction >= 1:
            raise ValueError(
                f"valid_fraction {self.valid_fraction} and test_fraction {self.test_fraction} "
                "must leave something for train"
            )
        both = {name.lower() for name in self.real} & {name.lower() for name in self.fake}
        if both:
            raise ValueError(f"names that mean both real and fake: {sorted(both)}")
        return self


class NearDuplicateParams(Section):
    max_distance: Annotated[int, Field(ge=0, le=15)] = described(
        "bits of 256 by which the perceptual hashes of two images may differ"
    )
    drop_from_train: bool = described(
        "leave near-duplicates out of train; otherwise they are only reported"
    )


class DataParams(Section):
    source: Literal["sample", "kaggle", "folder"] = described("where the images come from")
    limit_per_class: Count | None = described(
        "images of each class, all splits together; null: all of them"
    )
    max_bad_fraction: Fraction = described("share of unusable images above which `ingest` stops")
    shard_megabytes: Annotated[int, Field(ge=1, le=1024)] = described(
        "size in MB at which a new Parquet shard begins"
    )
    near_duplicates: NearDuplicateParams
    archive: ArchiveParams
    sample: SampleParams
    kaggle: KaggleParams
    folder: FolderParams


class BaselineParams(Section):
    C: Positive = described("inverse strength of the L2 penalty")
    class_weight: Literal["none", "balanced"] = described(
        "balanced: weight the loss so that both classes count the same"
    )
    max_iter: Count = described("iterations of the solver, at most")


class BackboneParams(Section):
    weights: Literal["auto", "imagenet", "random"] = described(
        "auto: ImageNet where they are available, else random"
    )
    alpha: Annotated[float, AfterValidator(_known_width)] = described(
        f"width of MobileNetV2, one of {', '.join(map(str, ALPHAS))}"
    )
    image_size: Annotated[int, Field(ge=32, le=1024)] = described(
        "side in pixels of the square that images are resized to"
    )
    precision: Literal["auto", "float32", "mixed_float16", "mixed_bfloat16"] = described(
        "arithmetic of `embed` and of fine-tuning; auto: mixed_float16 on a capable GPU, else "
        "float32"
    )


class EmbedParams(Section):
    layers: Annotated[list[str], Field(min_length=1), AfterValidator(_distinct)] = described(
        "layers of MobileNetV2 whose activations are described, by Keras's names: Conv1_relu, "
        "block_1_expand_relu to block_16_project_BN, out_relu and those between"
    )
    statistics: Annotated[
        list[Literal["mean", "std"]], Field(min_length=1), AfterValidator(_distinct)
    ] = described("statistics over the positions of the image")
    scales: Annotated[
        list[Annotated[float, Field(ge=0.1, le=1)]],
        Field(min_length=1),
        AfterValidator(_distinct),
    ] = described("sizes, as fractions of `image_size`, at which the network sees the image")
    views: Annotated[
        list[Annotated[str, AfterValidator(_known_view)]],
        Field(min_length=1),
        AfterValidator(_distinct),
    ] = described(
        f"symmetries in which the network sees the image: {', '.join(VIEWS)}; a score is the "
        "average over them"
    )
    engine: Literal["auto", "openvino", "tensorflow"] = described(
        "auto: TensorFlow if there is a GPU, else OpenVINO"
    )
    batch_size: Count = described("images per batch with TensorFlow (OpenVINO takes one at a time)")


class AugmentParams(Section):
    flip: bool = described("mirror half of the images")
    rotation: Annotated[float, Field(ge=0, le=180)] = described(
        "largest rotation in degrees, in either direction"
    )
    zoom: Annotated[float, Field(ge=0, lt=1)] = described(
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
    epochs: Annotated[int, Field(ge=0)] = described(
        "most epochs of fine-tuning; 0: the backbone stays frozen"
    )
    from_layer: str = described("first layer of MobileNetV2 that is trained; all: every layer")
    learning_rate: Positive = described("learning rate of Adam")
    batch_size: Count = described("images per step")
    patience: Count = described("epochs without a better validation ROC-AUC before stopping")
    augment: AugmentParams


class TrainParams(Section):
    hidden: list[Count] = described("units of each hidden layer of the head")
    dropout: Annotated[float, Field(ge=0, lt=1)] = described(
        "share of units left out after each hidden layer"
    )
    weight_decay: Annotated[float, Field(ge=0)] = described("L2 penalty on the weights of the head")
    learning_rate: Positive = described("learning rate of Adam")
    schedule: Literal["constant", "cosine"] = described("learning rate over the epochs")
    batch_size: Count = described("rows of embeddings per step")
    epochs: Count = described("largest number of epochs")
    patience: Count = described("epochs without a better validation ROC-AUC before stopping")
    class_weight: Literal["none", "balanced"] = described(
        "balanced: weight the loss so that both classes count the same"
    )
    fine_tune: FineTuneParams


class EvaluateParams(Section):
    threshold: Annotated[float, Field(gt=0, lt=1)] = described(
        "score from which an image is predicted fake"
    )


class CompareParams(Section):
    bootstrap_samples: Annotated[int, Field(ge=100, le=100_000)] = described(
        "bootstrap samples of the test images"
    )
    confidence: Annotated[float, Field(gt=0, lt=1)] = described("confidence level of the intervals")


class ExecutionParams(Section):
    """What decides speed and not results: no stage depends on it."""

    threads: Count | None = described("processors that the engines use; null: all of them")
    batch_size: Count = described("images in a batch, where TensorFlow scores them")
    cache_megabytes: Annotated[int, Field(ge=0)] = described(
        "MB of disk for the activations of the frozen layers during fine-tuning"
    )


class TrackingParams(Section):
    experiment: Annotated[str, Field(min_length=1)] = described("name of the MLflow experiment")
    policy: Literal["best_effort", "required"] = described(
        "required: a stage fails if its run cannot be logged"
    )


class Params(Section):
    """All of `params.yaml`."""

    seed: Annotated[int, Field(ge=0, lt=2**32)] = described("seed of every random choice")
    data: DataParams
    baseline: BaselineParams
    backbone: BackboneParams
    embed: EmbedParams
    train: TrainParams
    evaluate: EvaluateParams
    compare: CompareParams
    execution: ExecutionParams
    tracking: TrackingParams


class _Loader(yaml.SafeLoader):
    """YAML 1.2 floats: DVC writes 1e-5 as `1e-05`, which YAML 1.1 reads as a string. A key that
    appears twice in a section is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        twice = sorted({key for key in keys if keys.count(key) > 1})
        if twice:
            raise yaml.YAMLError(f"the key {twice[0]!r} appears twice{node.start_mark}")
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"),
    list("-+0123456789"),
)


def parse_yaml(text: str) -> Any:
    """Parse YAML as `params.yaml` is parsed: `1e-5` is a number, a repeated key is an error.

    Raises:
        yaml.YAMLError: the text is not YAML, or a key appears twice in a section.
        ValueError: a value is impossible, such as the date 2024-13-01.
    """
    return yaml.load(text, Loader=_Loader)


def load(path: Path | str = "params.yaml") -> Params:
    """Read and check the parameters.

    Raises:
        PipelineError: naming every key at fault, the value received and what is allowed.
    """
    try:
        values = parse_yaml(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:  # ValueError: an impossible date, say
        raise PipelineError(f"cannot read the parameters in {path}: {error}") from None
    return validate(values, origin=str(path))


def validate(values: Any, origin: str = "params") -> Params:
    """`values`, a nested dict, as `Params`; raises as `load` does."""
    try:
        return Params.model_validate(values)
    except ValidationError as error:
        lines = [_explain(item) for item in error.errors()]
        raise PipelineError(
            f"{origin} has {len(lines)} unusable "
            f"{'value' if len(lines) == 1 else 'values'}:\n  " + "\n  ".join(lines)
        ) from None


def _explain(error: Any) -> str:
    key = ".".join(str(part) for part in error["loc"]) or "(top level)"
    received = repr(error["input"])
    received = received if len(received) <= 80 else received[:77] + "..."
    if error["type"] == "extra_forbidden":
        nearest = _nearest(key)
        meant = f"; did you mean {nearest}?" if nearest else ""
        return f"{key}: unknown key (value received: {received}){meant}"
    if error["type"] == "missing":
        return f"{key}: the key is missing"
    allowed = error["msg"].removeprefix("Value error, ")
    return f"{key}: received {received}; {allowed[0].lower() + allowed[1:]}"


def _nearest(key: str) -> str | None:
    """The known key that is most like `key`, as a whole or in its last part; None if none is."""

    def likeness(known: str) -> float:
        pairs = ((key, known), (key.rpartition(".")[2], known.rpartition(".")[2]))
        return max(SequenceMatcher(None, *pair).ratio() for pair in pairs)

    best = max(_keys(Params), key=likeness)
    return best if likeness(best) >= 0.7 else None


def _keys(section: type[Section], prefix: str = "") -> Iterator[str]:
    """The dotted names of all parameters of a section."""
    for name, field in section.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, Section):
            yield from _keys(kind, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"
