"""Map a function over items in threads, in order and with bounded memory."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

from deepfake.common.environment import cores

T = TypeVar("T")
R = TypeVar("R")


def ordered(
    function: Callable[[T], R], items: Iterable[T], workers: int | None = None, ahead: int = 64
) -> Iterator[R]:
    """Yield `function(item)` for each item, in order, computed by threads.

    Args:
        workers: how many threads; one per processor by default.
        ahead: how many results may be computed, or in progress, before they are needed.

    Raises:
        Exception: what `function` raises for an item, when that item's result is due.
    """
    waiting: deque[Future[R]] = deque()
    remaining = iter(items)
    pool = ThreadPoolExecutor(workers or cores())
    try:
        waiting.extend(pool.submit(function, item) for item in islice(remaining, max(1, ahead)))
        while waiting:
            yield waiting.popleft().result()
            waiting.extend(pool.submit(function, item) for item in islice(remaining, 1))
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
