"""What a fuzz feeds: for each kind of input a strategy that makes it, and what uses it."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from hypothesis.strategies import SearchStrategy

ROOT = Path(__file__).resolve().parents[2]
# Uses one input. It raises nothing: it catches what the project raises on purpose.
Use = Callable[[bytes], None]
INPUT = "input"
# What a context manager that prepares a use is written as.
Opened = Iterator[Use]


@dataclass(frozen=True)
class Target:
    """A kind of input.

    Attributes:
        name: what the inputs are.
        inputs: makes them, with Hypothesis.
        opened: prepares their use, in a folder with nothing but the file `INPUT`, which also holds
            the input in use.
        writes: whether the use may write below that folder, and call this machine.
        secret: the name of a file that the use may not open.
        share: how many inputs it gets, of the number asked for: fewer where one takes long.
        seconds: how long one input may take.
        megabytes: how much the process may grow with any of them.
    """

    name: str
    inputs: Callable[[], SearchStrategy[bytes]]
    opened: Callable[[Path], AbstractContextManager[Use]]
    writes: bool = False
    secret: str = ""
    share: float = 1.0
    seconds: float = 60.0
    megabytes: int = 300


def spoilt(data: bytes, edits: list[tuple[float, int]], cut: float, more: bytes) -> bytes:
    """Bytes changed, most of them near the beginning; cut; and something put at the end.

    Args:
        edits: where, as a share of the length, and to which value.
        cut: the share that is left.
    """
    body = bytearray(data)
    for place, value in edits if data else ():
        body[int(place**3 * len(body))] = value
    return bytes(body[: int(cut * len(body))]) + more
