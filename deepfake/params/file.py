"""Reading and checking `params.yaml`."""

import re
from collections.abc import Iterator
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from deepfake.common.errors import PipelineError
from deepfake.params.base import Section
from deepfake.params.schema import Params

# What pydantic adds to the name of a parameter that may have one of several types.
_ALTERNATIVES = ("str", "list[str]")


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
    key = ".".join(str(part) for part in error["loc"] if part not in _ALTERNATIVES) or "(top level)"
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
