"""Map a function over items in threads, in order and with bounded memory."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from deepfake.common.environment import cores

# Bytes of files and pixels that may be in memory before they are needed: those of hundreds of usual
# images, or of one of the largest.
BYTES_AHEAD = 100_000_000

T = TypeVar("T")
R = TypeVar("R")


def ordered(
    function: Callable[[T], R],
    items: Iterable[T],
    workers: int | None = None,
    ahead: int = 64,
    size: Callable[[T], int] = lambda item: 0,
) -> Iterator[R]:
    """Yield `function(item)` for each item, in order, computed by threads.

    Args:
        workers: how many threads; one per processor by default.
        ahead: how many results may be computed, or in progress, before they are needed.
        size: about how many bytes an item and its result take. What is computed ahead takes at
            most `BYTES_AHEAD` together; an item that alone takes more waits for all before it.

    Raises:
        Exception: what `function` raises for an item, when that item's result is due.
    """
    waiting: deque[tuple[Future[R], int]] = deque()
    taken = 0

    def due() -> R:
        nonlocal taken
        future, freed = waiting.popleft()
        taken -= freed
        return future.result()

    pool = ThreadPoolExecutor(workers or cores())
    wait = True
    try:
        for item in items:
            needed = size(item)
            while waiting and (len(waiting) >= ahead or taken + needed > BYTES_AHEAD):
                yield due()
            waiting.append((pool.submit(function, item), needed))
            taken += needed
        while waiting:
            yield due()
    except KeyboardInterrupt:
        wait = False  # what the threads are at is not needed any more
        raise
    finally:
        pool.shutdown(wait, cancel_futures=True)
