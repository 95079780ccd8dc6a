"""What `ingest` needs of any source of images."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol


class Unreadable(Exception):
    """A file that cannot be read from its source; `reason` is one of a few short, fixed phrases."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Entry:
    """An image that a source holds; it has not been read yet.

    Attributes:
        path: within the source, with forward slashes; unique there.
        label: 1 for fake, 0 for real.
        split: "train", "valid" or "test"; None where the source has no splits.
        source: the name of the source.
    """

    path: str
    label: int
    split: str | None
    source: str = ""


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
        rejected: images that cannot be read, or not safely.
        left_out: how many files were skipped, by reason; nothing is wrong with them.
        warnings: what the user should look at, though the images can be used.
    """

    entries: list[Entry]
    rejected: list[Rejected] = field(default_factory=list)
    left_out: Mapping[str, int] = field(default_factory=dict)
    warnings: Sequence[str] = ()


class Source(AbstractContextManager["Source"], Protocol):
    """A source of images; a context manager that closes it at the end.

    Each source maps its own labels to fake = 1 in one place, its own module.
    """

    def offer(self) -> Offer:
        """List the images.

        Raises:
            PipelineError: layout or labels cannot be understood.
        """

    def stated(self, entry: Entry) -> tuple[int, int]:
        """Return size and CRC-32 of a file without reading it, each 0 if unknown.

        Files whose values differ have different content. A size of 0 counts as unknown.
        """

    def read(self, entry: Entry) -> bytes:
        """Read the file; many threads may call this.

        Raises:
            Unreadable: with the reason.
        """

    def describe(self) -> dict[str, Any]:
        """Describe where the images come from; the same in every run.

        Returns:
            `name`, `version`, `sha256` of the archive (or None), and what else identifies them.
        """
