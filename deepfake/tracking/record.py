"""A run as plain values: everything it takes to write it to the store, now or later."""

import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

# One thing to write, as JSON can hold it; `do` says which. `store.apply` writes it.
Operation = dict[str, Any]
Kind = Literal["data", "model"]  # of a run: a stage's that makes no model, or a model's row
_PARAM_LENGTH = 500


def milliseconds() -> int:
    """The time now, as MLflow stores it."""
    return time.time_ns() // 1_000_000


@dataclass
class Record:
    """A run: what it is, and the operations that write it."""

    experiment: str  # `tracking.experiment`: MLflow's, not DVC's
    name: str
    tags: dict[str, str]
    model_sha256: str | None = None  # continue the run of this model
    run_id: str | None = None
    operations: list[Operation] = field(default_factory=list)
    start: int = field(default_factory=milliseconds)
    status: str = "RUNNING"
    end: int | None = None

    @property
    def kind(self) -> Kind:
        return "model" if self.tags["kind"] == "model" else "data"


def params(values: Mapping[str, Any]) -> Operation:
    """Log nested parameters under dotted names, cut to 500 characters."""
    flat = {key: _text(value) for key, value in flattened(values).items()}
    return {"do": "params", "values": flat}


def metrics(values: Mapping[str, Any], step: int, split: str | None = None) -> Operation:
    """Log the numbers among nested values, with the time now, under names joined with an
    underscore; with `split`, as those of the run's model on the run's data of that split."""
    now = milliseconds()
    points = [
        (re.sub(r"[^\w\-. :/]", "_", key), float(value), now, step)
        for key, value in flattened(values, separator="_").items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    ]
    return {"do": "metrics", "points": points, "split": split}


def flattened(values: Mapping[str, Any], separator: str = ".", prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, keys joined with `separator`."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= flattened(value, separator, f"{prefix}{key}{separator}")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text[:_PARAM_LENGTH]
