"""The threaded map: in order, bounded, and raising where the function does."""

import threading
import time
from collections.abc import Iterator

import pytest

from deepfake.common import threads
from deepfake.common.threads import ordered


def test_ordered_keeps_the_order_and_uses_threads() -> None:
    used: set[int] = set()

    def slow(number: int) -> int:
        used.add(threading.get_ident())
        time.sleep(0.02 if number % 4 == 0 else 0.001)
        return number * 10

    assert list(ordered(slow, range(40), workers=4)) == [10 * i for i in range(40)]
    assert len(used) == 4


def test_ordered_looks_ahead_no_further_than_asked() -> None:
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        for number in range(1000):
            taken += 1
            yield number

    results = ordered(lambda number: number, items(), workers=2, ahead=8)
    for done in range(1, 51):
        next(results)
        assert taken <= done + 8
    results.close()


def test_ordered_raises_where_the_function_does() -> None:
    def invert(number: int) -> float:
        return 1 / number

    results = ordered(invert, [1, 2, 0, 4])
    assert [next(results), next(results)] == [1.0, 0.5]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_ordered_holds_no_more_bytes_than_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "BYTES_AHEAD", 100)
    begun: list[int] = []
    sizes = [10, 60, 60, 500, 1]
    results = ordered(begun.append, sizes, workers=1, size=lambda size: size)
    expected = [[10, 60], [10, 60, 60], [10, 60, 60], [10, 60, 60, 500], [10, 60, 60, 500, 1]]
    for done, allowed in enumerate(expected, start=1):
        next(results)
        assert done <= len(begun) <= len(allowed)
    assert begun == sizes
