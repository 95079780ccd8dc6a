"""The file of a sweep: which experiments there are, or which space is searched for them.

Keys of `set`, `grid`, `space` and of experiments are dotted keys of `params.yaml`.
"""

import itertools
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from deepfake.common.errors import PipelineError
from deepfake.common.files import read_yaml
from deepfake.evaluation.metrics import METRICS
from deepfake.params import Section

Overrides = dict[str, Any]  # dotted keys of params.yaml, and their values
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9-]*$")]


def _on_valid(metric: str) -> str:
    """`metric`, if it is one of a model on `valid`, such as "image.valid.roc_auc"."""
    model, _, rest = metric.partition(".")
    if model not in ("image", "baseline") or rest not in [f"valid.{name}" for name in METRICS]:
        names = " | ".join(METRICS)
        raise ValueError(f"is not image.valid.NAME or baseline.valid.NAME; NAME: {names}")
    return metric


class Experiment(Section):
    """One experiment. A mapping that has none of these keys is short for its `set`.

    Attributes:
        name: what the experiment's name has behind that of the sweep.
        published: the figure that others publish; `make recipes` shows it.
        preset: a sweep in the same folder whose `set` comes first, such as "fast".
        set: the parameters that it changes.
    """

    name: Name | None = None
    published: str = ""
    preset: Name | None = None
    set: Overrides = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        if isinstance(value, dict) and not cls.model_fields.keys() & value.keys():
            return {"set": value}
        return value


class Dimension(Section):
    """The values that a search may give a parameter: `choices`, or a range.

    A range is of whole numbers if it has a `step` and all its numbers are whole, else of floats.

    Attributes:
        choices: any values, lists too.
        low, high: the ends of a range, both included.
        log: whether the logarithm is spread evenly; for ranges above 0, without a step.
        step: between values, from `low` on.
    """

    choices: Annotated[list[Any], Field(min_length=1)] | None = None
    low: int | float | None = None
    high: int | float | None = None
    log: bool = False
    step: Annotated[int, Field(gt=0)] | Annotated[float, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> "Dimension":
        if self.choices is not None:
            if self.model_fields_set != {"choices"}:
                raise ValueError("choices stand alone: a range has low, high, log and step")
        elif self.low is None or self.high is None or self.low >= self.high:
            raise ValueError("needs choices, or a range with low below high")
        elif self.log and (self.step is not None or self.low <= 0):
            raise ValueError("log: true needs low above 0 and no step")
        return self

    @property
    def extremes(self) -> list[Any]:
        """The choices, or both ends of the range."""
        return [self.low, self.high] if self.choices is None else self.choices


class Search(Section):
    """How a space is searched.

    Attributes:
        method: tpe learns from the trials so far, grid tries each combination once.
        trials: how many experiments, all runs of the sweep together.
        metric: what is to become best, such as "image.valid.roc_auc".
    """

    method: Literal["tpe", "random", "grid"] = "tpe"
    trials: Annotated[int, Field(ge=1, le=10_000)]
    metric: str

    _metric = field_validator("metric")(_on_valid)


class Sweep(Section):
    """A sweep: experiments that are listed, or a search. With neither, it is one experiment.

    Attributes:
        name: the start of each experiment's name.
        jobs: how many experiments run at the same time.
        set: the parameters that every experiment changes.
        sort: the metric to sort by; a search sorts by its own.
        grid: the values of some parameters; each combination is an experiment.
        experiments: single experiments.
        search: how `space` is searched.
        space: the parameters that the search chooses.
    """

    name: Name
    jobs: Annotated[int, Field(ge=1, le=64)] = 1
    set: Overrides = Field(default_factory=dict)
    sort: str = "image.valid.roc_auc"
    grid: dict[str, Annotated[list[Any], Field(min_length=1)]] = Field(default_factory=dict)
    experiments: list[Experiment] = Field(default_factory=list)
    search: Search | None = None
    space: dict[str, Dimension] = Field(default_factory=dict)

    _metric = field_validator("sort")(_on_valid)

    @model_validator(mode="after")
    def _one_kind(self) -> "Sweep":
        if (self.search is None) != (not self.space):
            raise ValueError("search and space belong together")
        if self.search and {"sort", "grid", "experiments"} & self.model_fields_set:
            raise ValueError("a search has no sort, grid or experiments")
        return self

    @property
    def metric(self) -> str:
        """The metric that says which experiment is best."""
        return self.search.metric if self.search else self.sort

    def listed(self) -> list[Experiment]:
        """The grid's and the single experiments, each with all that it changes in its `set`."""
        combinations = itertools.product(*self.grid.values()) if self.grid else []
        grid = [
            Experiment(set=dict(zip(self.grid, values, strict=True))) for values in combinations
        ]
        found = [*grid, *self.experiments] or [Experiment()]
        return [one.model_copy(update={"set": {**self.set, **one.set}}) for one in found]


def read(path: Path) -> Sweep:
    """Read a sweep's file, and the presets that its experiments name.

    Raises:
        PipelineError: the file is not a sweep, or there is no such preset.
    """
    sweep = _parsed(path)
    return sweep.model_copy(
        update={"experiments": [_with_preset(one, path) for one in sweep.experiments]}
    )


def _parsed(path: Path) -> Sweep:
    try:
        return Sweep.model_validate(read_yaml(path))
    except (PipelineError, ValidationError) as error:
        raise PipelineError(f"{path} is not a sweep: {error}") from None


def _with_preset(experiment: Experiment, path: Path) -> Experiment:
    """The experiment with its preset's changes in its `set`, where its own come after them."""
    if experiment.preset is None:
        return experiment
    file = path.with_name(f"{experiment.preset}.yaml")
    if not file.exists():
        there = " | ".join(sorted(one.stem for one in path.parent.glob("*.yaml")))
        raise PipelineError(f"{path}: preset: {experiment.preset} is none of {there}")
    return experiment.model_copy(update={"set": {**_parsed(file).set, **experiment.set}})
