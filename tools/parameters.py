"""Write docs/parameters.md from the schema of `params.yaml`: `make docs`.

Names, descriptions and ranges come from `deepfake/params/`, defaults from `params.yaml`, and the
stages that depend on a section from `dvc.yaml`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import yaml

from deepfake import params
from deepfake.common.errors import command
from deepfake.common.files import read_yaml, write_text

PAGE = Path("docs/parameters.md")
_INTRODUCTION = """\
# Parameters

<!-- Written by `make docs` (tools/parameters.py); do not edit. -->

Every parameter of [params.yaml](../params.yaml), as the schema in
[deepfake/params](../deepfake/params) checks it. Change one for an experiment with `-S`:

```console
$ dvc exp run --temp -S train.weight_decay=0.1
```

A stage runs again when a section that it depends on changes, or when an earlier stage has written
something else. `compare` depends on every section that can change a result, because the report
lists them.
"""
_SHORT = 40  # characters of a list that stays in one piece, so that table columns can wrap


@dataclass(frozen=True)
class Parameter:
    """One value of `params.yaml`.

    Attributes:
        section: dotted name of the section that holds it; its own name at the top level.
        name: dotted name.
        description: what it means, with its unit.
        allowed: its range or its possible values, as Markdown.
        default: the value in `params.yaml`.
    """

    section: str
    name: str
    description: str
    allowed: str
    default: Any


@command
def main() -> None:
    write_text(PAGE, page(parameters()))


def parameters() -> list[Parameter]:
    """Every parameter, in the order of the schema."""
    schema = params.Params.model_json_schema()
    defaults = params.load().model_dump(mode="json")
    return list(_leaves(schema, schema["$defs"], defaults, ""))


def _leaves(
    schema: Mapping[str, Any], sections: Mapping[str, Any], defaults: Mapping[str, Any], prefix: str
) -> Iterator[Parameter]:
    """The parameters of a section, then those of the sections inside it."""
    properties = schema["properties"].items()
    for key, described in properties:
        if "$ref" not in described:
            name = f"{prefix}{key}"
            yield Parameter(
                section=prefix.removesuffix(".") or name,
                name=name,
                description=described.get("description", ""),
                allowed=allowed(described),
                default=defaults[key],
            )
    for key, described in properties:
        if "$ref" in described:
            section = sections[described["$ref"].rpartition("/")[2]]
            yield from _leaves(section, sections, defaults[key], f"{prefix}{key}.")


def allowed(schema: Mapping[str, Any], plural: str = "") -> str:
    """The values that the JSON schema of a parameter allows, in words.

    Args:
        schema: of one value.
        plural: the ending of the name of a type.
    """
    if "anyOf" in schema:
        return " or ".join(allowed(option) for option in schema["anyOf"])
    if "$ref" in schema:
        return f"section{plural}"
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    match schema["type"]:
        case "array":
            items = allowed(schema["items"], plural="s")
            least = ["at least one"] if schema.get("minItems") else []
            most = [f"at most {schema['maxItems']:,}"] if "maxItems" in schema else []
            return "; ".join([f"list of {items}", *filter(None, [", ".join([*least, *most])])])
        case "object":
            key = schema["propertyNames"]["const"]
            return f"`{{{key}: x}}` with x a {allowed(schema['additionalProperties'])}"
        case "boolean":
            return "`true`, `false`"
        case "null":
            return "`null`"
        case kind:
            return f"{kind}{plural} {_range(schema)}".strip()


def _range(schema: Mapping[str, Any]) -> str:
    """The bounds of a number, such as `0 to below 1`."""
    lowest = f"{schema['minimum']:,}" if "minimum" in schema else ""
    if "exclusiveMinimum" in schema:
        lowest = f"above {schema['exclusiveMinimum']:,}"
    highest = f"{schema['maximum']:,}" if "maximum" in schema else ""
    if "exclusiveMaximum" in schema:
        highest = f"below {schema['exclusiveMaximum']:,}"
    if lowest and highest:
        return f"{lowest} to {highest}"
    return f"from {lowest}" if lowest and "minimum" in schema else lowest or highest


def stages(section: str) -> list[str]:
    """The stages of dvc.yaml that depend on a top-level section of `params.yaml`."""
    described = read_yaml("dvc.yaml")["stages"]
    return [
        name
        for name, stage in described.items()
        if any(str(item).partition(".")[0] == section for item in stage.get("params", []))
    ]


def page(listed: list[Parameter]) -> str:
    """The whole page: a table for each section, under its top-level section."""
    parts = [_INTRODUCTION]
    for top, members in groupby(listed, key=lambda one: one.name.partition(".")[0]):
        depending = ", ".join(f"`{stage}`" for stage in stages(top))
        parts.append(f"## {top}\n\nStages that depend on it: {depending or 'none'}.\n")
        for section, rows in groupby(members, key=lambda one: one.section):
            if section != top:
                parts.append(f"### {section}\n")
            parts.append(_table(list(rows)))
    return "\n".join(parts)


def _table(rows: list[Parameter]) -> str:
    lines = ["| parameter | meaning | allowed | default |", "|---|---|---|---|"]
    for row in rows:
        cells = (f"`{row.name}`", row.description, row.allowed, _shown(row.default))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _shown(value: Any) -> str:
    """A value as `params.yaml` writes it."""
    if isinstance(value, list) and len(str(value)) > _SHORT:
        return ", ".join(_shown(item) for item in value)
    text = yaml.safe_dump(value, default_flow_style=True, width=1000)
    return f"`{text.removesuffix('...' + chr(10)).strip()}`"


if __name__ == "__main__":
    main()
