"""What the sections of `params.yaml` are made of."""

from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field

_T = TypeVar("_T")

Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
# More than a billion of anything is a slip of the pen, and does not fit the libraries' integers.
Whole = Annotated[int, Field(ge=0, le=1_000_000_000)]
Count = Annotated[int, Field(ge=1, le=1_000_000_000)]
# Of one hidden layer. Wider ones do not fit the memory of usual machines.
Units = Annotated[int, Field(ge=1, le=16_384)]
MOST_LAYERS = 20  # hidden layers of a head


def distinct(values: list[_T]) -> list[_T]:
    """`values`, unless one of them is listed twice."""
    if len(set(values)) != len(values):
        raise ValueError("lists a value twice")
    return values


def described(text: str) -> Any:
    """A required field with the description that docs/parameters.md shows."""
    return Field(description=text)


class Section(BaseModel):
    """A section of `params.yaml`: immutable, of exactly these keys and types."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)
