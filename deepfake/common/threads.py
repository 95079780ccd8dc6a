"""Threads: a function over items, in order and with bounded memory; a call that ends in time."""

import queue
import threading
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


def in_time(call: Callable[[], T], seconds: float, setting: str = "") -> T:
    """Return what `call` returns, or raise what it raises.

    A server may send its answer byte by byte, so that no timeout of a connection ever fires. So the
    call runs in a thread of its own, and is left to itself once its time is over. Such a thread
    does not keep the process from ending.

    Args:
        seconds: that the call may take.
        setting: the parameter that says so, for the message.

    Raises:
        TimeoutError: the call did not end in time.
    """
    answers: queue.SimpleQueue[tuple[T | None, BaseException | None]] = queue.SimpleQueue()

    def work() -> None:
        try:
            answers.put((call(), None))
        except BaseException as error:
            answers.put((None, error))

    threading.Thread(target=work, daemon=True).start()
    try:
        result, error = answers.get(timeout=seconds)
    except queue.Empty:
        where = f" ({setting})" if setting else ""
        raise TimeoutError(f"no complete answer within {seconds:.0f} s{where}") from None
    if error is not None:
        raise error
    return result  # type: ignore[return-value]
