"""Show the progress of long work: a bar on a terminal, a line every ten seconds elsewhere."""

import sys
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from tqdm import tqdm

T = TypeVar("T")


# Shorter than tqdm's own, so that the last values fit into 80 columns.
_EPOCHS_FORMAT = "{desc} {n_fmt}/{total_fmt} {bar} {remaining} left{postfix}"


def bar(total: int, what: str, unit: str, start: int = 0, *, brief: bool = False) -> Any:
    """Open a progress bar; call its `update()` after each item.

    Args:
        total: how many items there are.
        what: the name in front of the bar.
        unit: what the items are, in the plural.
        start: how many items are done already.
        brief: whether the bar goes when it is full, as one within another bar does; outside a
            terminal it then appears only if it takes ten seconds.
    """
    options = _options()
    return tqdm(
        total=total,
        initial=start,
        desc=what,
        unit=f" {unit}",
        smoothing=0.1,
        leave=not brief,
        delay=options["mininterval"] if brief else 0,
        **options,
    )


def epochs(total: int, what: str, start: int = 0) -> Any:
    """Open the bar of a training; show the last values with its `set_postfix_str()`."""
    return tqdm(
        total=total, initial=start, desc=what, bar_format=_EPOCHS_FORMAT, smoothing=1, **_options()
    )


def _options() -> dict[str, Any]:
    """What depends on where the bar is shown."""
    terminal = sys.stderr.isatty()
    return {
        "ascii": not terminal,
        "dynamic_ncols": terminal,
        "mininterval": 0.2 if terminal else 10,
    }


def shown(items: Iterable[T], total: int, what: str, unit: str) -> Iterator[T]:
    """Yield the items and count them in a bar; the arguments are those of `bar`."""
    with bar(total, what, unit) as progress:
        for item in items:
            yield item
            progress.update()
