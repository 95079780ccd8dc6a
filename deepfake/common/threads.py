"""A bounded, ordered `map` by threads."""

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
    """`map(function, items)` by threads: in order, with at most `ahead` items under way.

    Args:
        workers: number of threads; None: one a processor.
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
