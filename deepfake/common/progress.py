"""Show the progress of long work: a bar on a terminal, a line every ten seconds elsewhere."""

import sys
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from tqdm import tqdm

T = TypeVar("T")


def bar(total: int, what: str, unit: str, start: int = 0) -> Any:
    """Open a progress bar; call its `update()` after each item.

    Args:
        total: how many items there are.
        what: the name in front of the bar.
        unit: what the items are, in the plural.
        start: how many items are done already.
    """
    terminal = sys.stderr.isatty()
    return tqdm(
        total=total,
        initial=start,
        desc=what,
        unit=f" {unit}",
        ascii=not terminal,
        dynamic_ncols=terminal,
        mininterval=0.2 if terminal else 10,
        smoothing=0.1,
    )


def shown(items: Iterable[T], total: int, what: str, unit: str) -> Iterator[T]:
    """Yield the items and count them in a bar; the arguments are those of `bar`."""
    with bar(total, what, unit) as progress:
        for item in items:
            yield item
            progress.update()
