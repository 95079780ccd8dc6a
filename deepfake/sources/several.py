"""Several folders and zips as one source; each keeps its own splits, and its name."""

from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from typing import Any, Self

from deepfake.params import ArchiveParams, FolderParams, source_name
from deepfake.sources.base import Entry, Offer, Rejected, Source
from deepfake.sources.folder import open_folder


class SeveralSources:
    """The images of several sources; the path of each begins with the name of its source.

    Args:
        sources: open sources by their names; they are closed with this one.
    """

    def __init__(self, sources: Mapping[str, Source]) -> None:
        self._sources = dict(sources)
        self._checksums = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with ExitStack() as closing:  # all of them, even if one fails
            for source in self._sources.values():
                closing.push(source)

    def offer(self) -> Offer:
        entries: list[Entry] = []
        rejected: list[Rejected] = []
        left_out: Counter[str] = Counter()
        warnings: list[str] = []
        for name, source in self._sources.items():
            offer = source.offer()
            entries += [
                replace(entry, path=f"{name}/{entry.path}", source=name) for entry in offer.entries
            ]
            rejected += [Rejected(f"{name}/{item.path}", item.reason) for item in offer.rejected]
            left_out.update(offer.left_out)
            warnings += offer.warnings
        # A folder states no checksums. A zip's would make its copy of a file look different.
        self._checksums = all(self._stated(entry)[1] for entry in entries)
        entries.sort(key=lambda entry: entry.path)
        return Offer(entries, rejected, dict(left_out), tuple(warnings))

    def stated(self, entry: Entry) -> tuple[int, int]:
        size, checksum = self._stated(entry)
        return size, checksum if self._checksums else 0

    def _stated(self, entry: Entry) -> tuple[int, int]:
        return self._sources[entry.source].stated(_inside(entry))

    def read(self, entry: Entry) -> bytes:
        return self._sources[entry.source].read(_inside(entry))

    def describe(self) -> dict[str, Any]:
        return {
            "name": ", ".join(self._sources),
            "version": None,
            "sha256": None,
            "sources": [source.describe() for source in self._sources.values()],
        }


def _inside(entry: Entry) -> Entry:
    """The entry as its own source knows it."""
    return replace(entry, path=entry.path.removeprefix(f"{entry.source}/"))


def open_folders(params: FolderParams, limits: ArchiveParams) -> SeveralSources:
    """Open each of the paths of `data.folder`; raises as `open_folder` does."""
    with ExitStack() as opened:  # closes those before one that cannot be opened
        sources = {
            source_name(path): opened.enter_context(
                open_folder(params.model_copy(update={"path": path}), limits)
            )
            for path in params.paths
        }
        opened.pop_all()
    return SeveralSources(sources)
