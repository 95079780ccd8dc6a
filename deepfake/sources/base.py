"""What `ingest` needs of a place that images come from."""

import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol


class Unreadable(Exception):
    """A file that its source cannot hand out; `reason` is one of a few short, stable phrases."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Entry:
    """An image that a source offers, not read yet.

    Attributes:
        path: where it is within the source, with forward slashes; unique there.
        label: 1 for fake, 0 for real.
        split: "train", "valid" or "test"; None where the source has no splits.
    """

    path: str
    label: int
    split: str | None


@dataclass(frozen=True, slots=True)
class Rejected:
    """An image that cannot be used, and why."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class Offer:
    """Everything that a source holds.

    Attributes:
        entries: the images, sorted by path.
        rejected: images that are not safe or not possible to read.
        left_out: how many files were passed over, by reason; nothing is wrong with those.
        warnings: what the user should look at, though the images can be used.
    """

    entries: list[Entry]
    rejected: list[Rejected] = field(default_factory=list)
    left_out: Mapping[str, int] = field(default_factory=dict)
    warnings: Sequence[str] = ()


class Source(AbstractContextManager["Source"], Protocol):
    """A place that images come from; used as a context manager, closed at the end.

    A source writes the mapping from its own labels to fake = 1 once, in its own module.
    """

    def offer(self) -> Offer:
        """List the images; raises PipelineError where layout or labels cannot be understood."""

    def stated(self, entry: Entry) -> tuple[int, int]:
        """What is known of a file without reading it: its bytes and its CRC-32, 0 where that is not
        known. Files that differ in it differ; such of 0 bytes are taken to."""

    def read(self, entry: Entry) -> bytes:
        """The file's bytes. Any number of threads may call this. Raises Unreadable."""

    def describe(self) -> dict[str, Any]:
        """Where the images come from: `name`, `version`, `sha256` of the archive (or None), and
        what else identifies them. The same from run to run."""


def anchored(path: str | Path) -> Path:
    """`path`, a relative one from the repository: DVC's experiments run in copies of it, and
    DVC_ROOT then names the user's own."""
    return Path(os.environ.get("DVC_ROOT", ".")) / Path(path).expanduser()
