"""YAML as DVC reads it: version 1.2, by the same library, so that both see the same values.

`010` is ten and `1:30` is text; in version 1.1, which PyYAML reads, they are 8 and 90.
"""

from typing import Any

# What the pipeline's files need many times over; more is an accident or an attack.
MOST_BYTES = 1_000_000
MOST_VALUES = 20_000  # keys, too; dvc.lock has 2,000, and takes a tenth of a second
DEEPEST = 50


def parse_yaml(text: str) -> Any:
    """Parse a YAML document into dicts, lists, text, numbers, dates and None.

    Raises:
        ValueError: in one line, why the text cannot be used: it is not YAML, a key appears twice
            in a section, or it is too long, nested too deeply or has an alias.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError

    try:
        _check_size(text)
        return YAML(typ="safe").load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f", line {mark.line + 1}" if mark else ""
        raise ValueError(f"{error.problem or error.context}{where}") from None
    except Exception as error:  # a tag such as `!!int` makes the library fail in any way
        raise ValueError(" ".join(str(error).split()) or repr(error)) from None


def _check_size(text: str) -> None:
    """Refuse what would take the parser very long, or too deep; this looks at the text's events
    alone, and builds nothing."""
    from ruamel.yaml import YAML, events

    if len(text) > MOST_BYTES:
        raise ValueError(f"it has {len(text):,} characters; at most {MOST_BYTES:,} are read")
    depth = 0
    for number, event in enumerate(YAML(typ="safe").parse(text)):
        if number > MOST_VALUES:
            raise ValueError(f"it has more than {MOST_VALUES:,} values")
        line = event.start_mark.line + 1
        depth += isinstance(event, events.CollectionStartEvent)
        depth -= isinstance(event, events.CollectionEndEvent)
        if isinstance(event, events.AliasEvent):
            raise ValueError(f"*{event.anchor} is an alias, line {line}: write the value itself")
        if depth > DEEPEST:
            raise ValueError(f"it is nested more than {DEEPEST} deep, line {line}")
