"""All of `params.yaml`, and its small sections."""

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

from deepfake.common.labels import SPLITS
from deepfake.params.base import Count, Positive, Section, Whole, described, distinct
from deepfake.params.data import DataParams, ExternalParams
from deepfake.params.models import BackboneParams, EmbedParams, TrainParams


class BaselineParams(Section):
    """The logistic regression on the metadata."""

    C: Positive = described("inverse strength of the L2 penalty")
    class_weight: Literal["none", "balanced"] = described(
        "balanced: weight the loss so that both classes count the same"
    )
    max_iter: Count = described("iterations of the solver, at most")


def _one_message(value: Any, check: ValidatorFunctionWrapHandler) -> Any:
    """One message about all the kinds of values that a rule can be, instead of one for each."""
    try:
        return check(value)
    except ValidationError:
        raise ValueError(
            "must be a number above 0 and below 1, youden, f1, or {fpr: a number above 0 and "
            "below 1}"
        ) from None


_Rate = Annotated[float, Field(gt=0, lt=1)]
Rule = Annotated[
    _Rate | Literal["youden", "f1"] | Annotated[dict[Literal["fpr"], _Rate], Field(min_length=1)],
    WrapValidator(_one_message),
]


def _named_apart(sets: list[ExternalParams]) -> list[ExternalParams]:
    names = [one.name.lower() for one in sets]
    for name in names:
        if names.count(name) > 1 or name in SPLITS:
            raise ValueError(f"two data sets, or one and a split, are named {name!r}")
    return sets


class UncertainParams(Section):
    """When an image is called neither real nor fake."""

    error_rate: Annotated[float, Field(gt=0, lt=0.5)] = described(
        "share of each class of `valid` that may be called the other class with certainty"
    )


class EvaluateParams(Section):
    """How scores become decisions, and data sets that no model was trained on."""

    external: Annotated[
        list[ExternalParams], Field(max_length=100), AfterValidator(_named_apart)
    ] = described(
        "data sets to score and not to train on, each with `name` and `path` of a folder or zip; "
        "and, if wanted, `real`, `fake` and `csv` (as in `data.folder`) and `limit_per_class`"
    )
    threshold: Rule = described(
        "score from which an image is predicted fake, or the rule that chooses it on `valid`: "
        "`youden` (sensitivity plus specificity), `f1`, or the false positive rate allowed"
    )
    uncertain: UncertainParams


class CompareParams(Section):
    """The bootstrap behind the intervals and the comparison of both models."""

    bootstrap_samples: Annotated[int, Field(ge=100, le=100_000)] = described(
        "bootstrap samples of the test images"
    )
    confidence: Annotated[float, Field(gt=0, lt=1)] = described("confidence level of the intervals")


def _loadable(formats: list[str]) -> list[str]:
    if "openvino" not in formats:
        raise ValueError("leaves out openvino, which the detector itself is read from")
    return formats


class ExportParams(Section):
    """The formats that the detector is exported to."""

    formats: Annotated[
        list[Literal["openvino", "onnx", "tflite", "tflite_float16", "tflite_int8"]],
        AfterValidator(distinct),
        AfterValidator(_loadable),
    ] = described("formats that the detector's network is written in; openvino is one of them")
    images: Annotated[int, Field(ge=2, le=100_000)] = described(
        "images of `valid`, at most, on which each format is compared with Keras"
    )


class RayParams(Section):
    """How images are computed on a Ray cluster."""

    tasks: Count | None = described("tasks at the same time, at most; null: as many as fit")
    cpus_per_task: Count = described("processors that a task takes, each for an image")
    gpus_per_task: Annotated[float, Field(ge=0, le=16)] = described("GPUs that a task takes")
    batch_size: Count = described("images that a task computes, at most")


class ExecutionParams(Section):
    """What decides speed and not results: no stage depends on it."""

    executor: Literal["local", "ray"] = described(
        "what computes embeddings: this machine, or a Ray cluster (docs/ray.md)"
    )
    ray: RayParams = described("the tasks of the executor `ray`")
    threads: Count | None = described("processors that OpenVINO uses; null: all of them")
    batch_size: Count = described("images in a batch, where TensorFlow scores them")
    cache_megabytes: Whole = described(
        "MB of disk for the activations of the frozen layers during fine-tuning; MB of memory for "
        "decoded images with the recipes `transfer` and `cnn`"
    )


class TrackingParams(Section):
    """What goes to MLflow, and what happens where it is out of reach."""

    experiment: Annotated[str, Field(min_length=1)] = described("name of the MLflow experiment")
    policy: Literal["best_effort", "required"] = described(
        "required: a stage fails if its run cannot be logged"
    )
    deadline_seconds: Count = described(
        "seconds that each answer of a tracking server, and each lock on the store, is waited for; "
        "then the run is kept in the outbox. A file that is sent may take a second more for each "
        "100 kB"
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
    export: ExportParams
    execution: ExecutionParams
    tracking: TrackingParams
