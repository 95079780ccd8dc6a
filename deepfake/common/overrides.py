"""Values in the grammar of Hydra, which DVC reads behind `-S key=`."""

import json
import re
from typing import Any


def written(value: Any) -> str:
    """A value as Hydra reads it back: text, numbers, booleans, None, and lists and dicts of these.

    Keys of dicts are words. Text is in quotation marks, or `2024` would become a number.
    """
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}: {written(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(written, value)) + "]"
    return _quoted(value) if isinstance(value, str) else json.dumps(value)


def _quoted(value: str) -> str:
    # Hydra reads a backslash as itself, unless a quotation mark or `${` follows.
    def escaped(match: re.Match[str]) -> str:
        return 2 * match[1] + (f"\\{match[2]}" if match[2] else "")

    return '"' + re.sub(r'(\\*)("|\$\{|$)', escaped, value) + '"'
