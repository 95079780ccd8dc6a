"""The typed schema of `params.yaml`: the one way in which parameters enter the program.

Unknown keys, wrong types and values out of range are refused before any work starts.
"""

import re
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
        raise ValueError("names something twice")
    return values


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class SampleParams(Section):
    train_per_class: Count
    valid_per_class: Count
    test_per_class: Count
    size: Annotated[int, Field(ge=64, le=1024)]
    strength: Annotated[float, Field(gt=0, le=4)]


class KaggleParams(Section):
    dataset: Annotated[
        str, Field(pattern=r"^[A-Za-z0-9-]+/[A-Za-z0-9][A-Za-z0-9_-]*(/[1-9][0-9]*)?$")
    ]


class ArchiveParams(Section):
    max_files: Count
    max_gigabytes: Positive
    max_ratio: Annotated[float, Field(ge=1)]


class CsvParams(Section):
    file: str | None
    path_column: str
    label_column: str
    split_column: str | None


class FolderParams(Section):
    path: str
    real: Annotated[list[str], Field(min_length=1)]
    fake: Annotated[list[str], Field(min_length=1)]
    csv: CsvParams
    valid_fraction: Fraction
    test_fraction: Fraction

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
    max_distance: Annotated[int, Field(ge=0, le=15)]
    drop_from_train: bool


class DataParams(Section):
    source: Literal["sample", "kaggle", "folder"]
    limit_per_class: Count | None
    max_bad_fraction: Fraction
    shard_megabytes: Annotated[int, Field(ge=1, le=1024)]
    near_duplicates: NearDuplicateParams
    archive: ArchiveParams
    sample: SampleParams
    kaggle: KaggleParams
    folder: FolderParams


class BaselineParams(Section):
    C: Positive
    class_weight: Literal["none", "balanced"]
    max_iter: Count


class BackboneParams(Section):
    weights: Literal["auto", "imagenet", "random"]
    alpha: Annotated[float, AfterValidator(_known_width)]
    image_size: Annotated[int, Field(ge=32, le=1024)]
    precision: Literal["auto", "float32", "mixed_float16", "mixed_bfloat16"]


class EmbedParams(Section):
    layers: Annotated[list[str], Field(min_length=1), AfterValidator(_distinct)]
    statistics: Annotated[
        list[Literal["mean", "std"]], Field(min_length=1), AfterValidator(_distinct)
    ]
    scales: Annotated[
        list[Annotated[float, Field(ge=0.1, le=1)]],
        Field(min_length=1),
        AfterValidator(_distinct),
    ]
    views: Annotated[
        list[Annotated[str, AfterValidator(_known_view)]],
        Field(min_length=1),
        AfterValidator(_distinct),
    ]
    engine: Literal["auto", "openvino", "tensorflow"]
    batch_size: Count


class AugmentParams(Section):
    flip: bool
    rotation: Annotated[float, Field(ge=0, le=180)]
    zoom: Annotated[float, Field(ge=0, lt=1)]
    shift: Annotated[float, Field(ge=0, lt=1)]
    contrast: Annotated[float, Field(ge=0, lt=1)]
    jpeg: Fraction


class FineTuneParams(Section):
    epochs: Annotated[int, Field(ge=0)]
    from_layer: str
    learning_rate: Positive
    batch_size: Count
    patience: Count
    cache_megabytes: Annotated[int, Field(ge=0)]
    augment: AugmentParams


class TrainParams(Section):
    hidden: list[Count]
    dropout: Annotated[float, Field(ge=0, lt=1)]
    weight_decay: Annotated[float, Field(ge=0)]
    learning_rate: Positive
    schedule: Literal["constant", "cosine"]
    batch_size: Count
    epochs: Count
    patience: Count
    class_weight: Literal["none", "balanced"]
    fine_tune: FineTuneParams


class EvaluateParams(Section):
    threshold: Annotated[float, Field(gt=0, lt=1)]
    batch_size: Count


class CompareParams(Section):
    bootstrap_samples: Annotated[int, Field(ge=100, le=100_000)]
    confidence: Annotated[float, Field(gt=0, lt=1)]


class TrackingParams(Section):
    experiment: Annotated[str, Field(min_length=1)]
    policy: Literal["best_effort", "required"]


class Params(Section):
    """All of `params.yaml`; what each key means stands there, beside its value."""

    seed: Annotated[int, Field(ge=0, lt=2**32)]
    data: DataParams
    baseline: BaselineParams
    backbone: BackboneParams
    embed: EmbedParams
    train: TrainParams
    evaluate: EvaluateParams
    compare: CompareParams
    tracking: TrackingParams


class _Loader(yaml.SafeLoader):
    """YAML 1.2 floats: DVC writes 1e-5 as `1e-05`, which YAML 1.1 reads as a string. A key that
    stands twice in a section is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        twice = sorted({key for key in keys if keys.count(key) > 1})
        if twice:
            raise yaml.YAMLError(f"the key {twice[0]!r} stands twice{node.start_mark}")
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"),
    list("-+0123456789"),
)


def load(path: Path | str = "params.yaml") -> Params:
    """Read and check the parameters.

    Raises:
        PipelineError: naming every key at fault, the value received and what is allowed.
    """
    try:
        values = yaml.load(Path(path).read_text(encoding="utf-8"), Loader=_Loader)
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
        return f"{key}: unknown key (value received: {received})"
    if error["type"] == "missing":
        return f"{key}: the key is missing"
    allowed = error["msg"].removeprefix("Value error, ")
    return f"{key}: received {received}; {allowed[0].lower() + allowed[1:]}"
