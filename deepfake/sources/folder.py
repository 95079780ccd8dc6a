"""Images in a directory or a zip, labelled by class folders or a table."""

from functools import cached_property
from pathlib import Path
from typing import Any, Self

from deepfake.common.errors import PipelineError
from deepfake.common.files import sha256_file
from deepfake.data import images
from deepfake.params import ArchiveParams, CsvParams, FolderParams, source_name
from deepfake.sources import layouts, tables
from deepfake.sources.archive import Archive
from deepfake.sources.base import Entry, Offer, Rejected, Unreadable
from deepfake.sources.directory import UNREADABLE
from deepfake.sources.remote import is_address, located


class FolderSource:
    """The images of an archive, split and labelled by folder names or a CSV in it.

    Args:
        path: a directory or a zip, or its address.
        shown: its name in messages and in `describe`.
        names: which names mean real and which fake.
        limits: how much a zip may hold.
        table: the CSV that labels the images; None: their folders label them.
        below: use only files whose path contains this folder (`a/b`); None: all files.
        description: what `describe` returns, without the SHA-256; None: that of a folder.
        sha256: of the zip, if it is known already.
        source: the name of the source; None: by the rule of `data.folder.path`.
    """

    def __init__(
        self,
        path: Path | str,
        shown: str,
        names: layouts.ClassNames,
        limits: ArchiveParams,
        table: CsvParams | None = None,
        below: str | None = None,
        description: dict[str, Any] | None = None,
        sha256: str | None = None,
        source: str | None = None,
    ) -> None:
        self._archive = Archive(path, limits)
        self._shown = shown
        self._source = source or source_name(shown)
        self._names = names
        self._table = table
        self._below = below
        self._description = description or {"name": "folder", "version": None, "path": shown}
        self._known_sha256 = sha256
        self._max_rows = limits.max_files
        self._warnings: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._archive.close()

    @cached_property
    def _sha256(self) -> str | None:
        # One at an address would have to be transferred a second time.
        if self._known_sha256 or not self._archive.is_zip or is_address(self._archive.path):
            return self._known_sha256
        return sha256_file(Path(self._archive.path))

    def describe(self) -> dict[str, Any]:
        tag = {"tag": self._archive.tag} if self._archive.tag else {}
        return {**self._description, "sha256": self._sha256, **tag}

    def stated(self, entry: Entry) -> tuple[int, int]:
        member = self._archive.members[entry.path]
        return member.size, member.checksum or 0

    def read(self, entry: Entry) -> bytes:
        return self._archive.read(entry.path)

    def offer(self) -> Offer:
        inside = [path for path in self._archive.members if self._is_below(path)]
        paths = [path for path in inside if layouts.is_image(path)]
        # What cannot even be looked at may be a folder of images.
        rejected = [
            item
            for item in self._archive.rejected
            if layouts.is_image(item.path) or item.reason == UNREADABLE
        ]
        if not paths:
            raise PipelineError(self._no_images(rejected))
        self._warnings = []
        places = self._places(paths)
        left_out = {
            "outside the data set's folder": len(self._archive.members) - len(inside),
            "not an image by its name": len(inside) - len(paths),
            "not named by the table": len(paths) - len(places),
        }
        left_out = {reason: number for reason, number in left_out.items() if number}
        entries = [self._entry(path, places[path]) for path in sorted(places)]
        return Offer(entries, rejected, left_out, tuple(self._warnings))

    def _entry(self, path: str, spot: layouts.Place) -> Entry:
        assert spot.label is not None
        return Entry(path, spot.label, spot.split, self._source)

    def _is_below(self, path: str) -> bool:
        return self._below is None or f"/{self._below}/".lower() in f"/{path}".lower()

    def _no_images(self, rejected: list[Rejected]) -> str:
        below = f" below a folder {self._below}" if self._below else ""
        refused = f"; {len(rejected)} were refused, {rejected[0].reason}" if rejected else ""
        return (
            f"no images found in {self._shown}{below}: {len(self._archive.members)} files, none "
            f"of them named {', '.join(images.SUFFIXES)}{refused}. Check the path."
        )

    def _places(self, paths: list[str]) -> dict[str, layouts.Place]:
        """Return split and label of each image that is to be used."""
        places = {path: layouts.place(path, self._names) for path in paths}
        if self._table is not None and self._table.file is not None:
            places = self._by_table(places, self._table.file, self._table)
        # One after the other: with many images, each of these dictionaries is large.
        layouts.require_labels(
            {path: spot.label for path, spot in places.items()}, self._names, self._shown
        )
        layouts.complete_splits({path: spot.split for path, spot in places.items()}, self._shown)
        return places

    def _by_table(
        self, folders: dict[str, layouts.Place], file: str, table: CsvParams
    ) -> dict[str, layouts.Place]:
        where = f"{self._shown}: {file}"
        if file not in self._archive.members:
            there = [path for path in self._archive.members if path.lower().endswith(".csv")]
            raise PipelineError(
                f"{where} is not there; tables found: {layouts.first(there) or 'none'}. "
                "data.folder.csv.file is a path inside the folder."
            )
        try:
            data = self._archive.read(file)
        except Unreadable as error:
            raise PipelineError(f"{where} cannot be read: {error.reason}") from None
        columns = table.path_column, table.label_column, table.split_column
        rows = tables.read_table(data, *columns, where, self._max_rows)
        found = tables.match_table(rows, folders, self._names, where)
        tables.contradictions(found, folders, where)
        self._warnings += tables.oddities(rows, found, folders, where)
        if table.split_column is None:
            return {
                path: layouts.Place(folders[path].split, spot.label) for path, spot in found.items()
            }
        return found


def open_folder(params: FolderParams, limits: ArchiveParams) -> FolderSource:
    """Open the source that `data.folder` describes, which names one path."""
    names = layouts.ClassNames(params.real, params.fake)
    (path,) = params.paths
    return FolderSource(located(path), path, names, limits, params.csv)
