"""Reading and checking `params.yaml`."""

import reprlib
from collections.abc import Iterator
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from deepfake.common.errors import PipelineError
from deepfake.common.files import read_yaml
from deepfake.params.base import Section
from deepfake.params.schema import Params

# What pydantic adds to the name of a parameter that may have one of several types.
_ALTERNATIVES = ("str", "list[str]")

# How much of what was received a message shows.
_MOST_LINES, _MOST_CHARACTERS, _LONGEST_REASON = 20, 80, 500


def load(path: Path | str = "params.yaml") -> Params:
    """Read and check the parameters.

    Raises:
        PipelineError: naming every key at fault, the value received and what is allowed.
    """
    return validate(read_yaml(path), origin=str(path))


def validate(values: Any, origin: str = "params") -> Params:
    """`values`, a nested dict, as `Params`; raises as `load` does."""
    try:
        return Params.model_validate(values)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False)
        lines = [_explain(item) for item in found[:_MOST_LINES]]
        if len(found) > _MOST_LINES:
            lines.append(f"and {len(found) - _MOST_LINES} more")
        raise PipelineError(
            f"{origin} has {len(found)} unusable "
            f"{'value' if len(found) == 1 else 'values'}:\n  " + "\n  ".join(lines)
        ) from None


def _explain(error: Any) -> str:
    key = ".".join(str(part) for part in error["loc"] if part not in _ALTERNATIVES) or "(top level)"
    key, received = _short(key), _short(_repr(error["input"]))
    if error["type"] == "extra_forbidden":
        nearest = _nearest(key)
        meant = f"; did you mean {nearest}?" if nearest else ""
        return f"{key}: unknown key (value received: {received}){meant}"
    if error["type"] == "missing":
        return f"{key}: the key is missing"
    allowed = error["msg"].removeprefix("Value error, ")[:_LONGEST_REASON]
    if (
        any(known.startswith(f"{key}.") for known in _keys(Params))
        and error["type"] == "value_error"
    ):
        return f"{key}: {allowed}"  # of parameters that do not go together, which it names
    return f"{key}: received {received}; {allowed[0].lower() + allowed[1:]}"


def _repr(value: Any) -> str:
    """`repr(value)`, of the first items and characters alone where there are many."""
    limited = reprlib.Repr()
    limited.maxdict = limited.maxlist = limited.maxlevel = 20
    limited.maxstring = limited.maxlong = limited.maxother = 2 * _MOST_CHARACTERS
    try:
        return limited.repr(value)
    except ValueError:  # Python writes no integer of more than 4300 digits
        return "a number of thousands of digits"


def _short(text: str) -> str:
    return text if len(text) <= _MOST_CHARACTERS else text[: _MOST_CHARACTERS - 3] + "..."


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
