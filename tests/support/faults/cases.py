"""What a fault is: how it is provoked, and what the pipeline does."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.support.kaggle_server import KaggleServer

ERROR, REFUSED, WARNING, HANDLED = "error", "file refused", "warning", "handled"
PAGE = b"<!DOCTYPE html><html><body>Please sign in</body></html>"


@dataclass(frozen=True)
class Case:
    """A fault of a folder or an archive.

    Attributes:
        name: the fault, as the documentation calls it.
        outcome: one of the four above.
        says: parts of the message, in order; for a refused file, its one reason.
        make: makes the source in an existing empty folder, and returns its path.
        note: what happens, if there is no message.
        parameters: changes to the parameters of the tests, by their last name.
        files: how many images are refused.
    """

    name: str
    outcome: str
    says: tuple[str, ...]
    make: Callable[[Path], Path]
    note: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)
    files: int = 1


@dataclass(frozen=True)
class Awkward:
    """An image file that is called `face.jpg`.

    Attributes:
        outcome: HANDLED or REFUSED.
        says: the reason for refusing it, or how it is read.
        make: its bytes.
        right: whether the decoded pixels, uint8 RGB (height, width, 3), are correct.
    """

    name: str
    outcome: str
    says: str
    make: Callable[[], bytes]
    right: Callable[[NDArray[np.uint8]], bool] = lambda pixels: True


@dataclass(frozen=True)
class Trouble:
    """A fault between this machine and Kaggle.

    Attributes:
        make: tells a server what to do wrong; it has the archive of version 2.
        requests: how many download requests are made.
        seconds: how long the run takes at least.
        downloaded_before: whether the version was downloaded once, and its archive removed since.
        environment: variables to change.
    """

    name: str
    outcome: str
    says: tuple[str, ...]
    make: Callable[[KaggleServer], Any]
    note: str = ""
    requests: int | None = None
    seconds: float = 0.0
    downloaded_before: bool = False
    environment: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Attack:
    """A fault of anything else: a parameter, a file between stages, a server, the machine.

    Attributes:
        outcome: one of the four above.
        says: parts of what is printed, in order.
        provoke: provokes the fault with what the test gives it, and returns what was printed or
            raised.
        note: what happens, if there is no message.
    """

    name: str
    outcome: str
    says: tuple[str, ...]
    provoke: Callable[..., Any]
    note: str = ""
