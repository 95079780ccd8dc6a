"""Progress of long work, as a bar on a terminal and as a line now and then elsewhere."""

import sys
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from tqdm import tqdm

T = TypeVar("T")


def bar(total: int, what: str, unit: str, start: int = 0) -> Any:
    """A progress bar to `update`; in a log file it prints at most every ten seconds."""
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
    """Pass `items` on, counting them in a bar."""
    with bar(total, what, unit) as progress:
        for item in items:
            yield item
            progress.update()
