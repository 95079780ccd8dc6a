"""All of `params.yaml`, and its small sections."""

from typing import Annotated, Literal

from pydantic import Field

from deepfake.params.base import Count, Positive, Section, described
from deepfake.params.data import DataParams
from deepfake.params.models import BackboneParams, EmbedParams, TrainParams


class BaselineParams(Section):
    C: Positive = described("inverse strength of the L2 penalty")
    class_weight: Literal["none", "balanced"] = described(
        "balanced: weight the loss so that both classes count the same"
    )
    max_iter: Count = described("iterations of the solver, at most")


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
        "MB of disk for the activations of the frozen layers during fine-tuning; MB of memory for "
        "decoded images with the recipes `transfer` and `cnn`"
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
