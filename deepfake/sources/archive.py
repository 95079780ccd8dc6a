"""A read-only view of a directory or a zip, here or at an address: list the files, read one.

A zip is read in place and never unpacked, so that no name in it can touch the disk. Names that
would be dangerous to anyone who unpacks it are refused all the same, because paths end up in tables
that other programs read. A zip's own figures are not trusted: `ArchiveParams` limits how many files
it may list and how large they may be when unpacked.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Self

from deepfake.common.environment import repository
from deepfake.common.errors import PipelineError
from deepfake.common.text import printable
from deepfake.params import ArchiveParams
from deepfake.sources import directory
from deepfake.sources.base import Rejected, Unreadable
from deepfake.sources.members import Member, Members, is_safe
from deepfake.sources.remote import Remote, is_address
from deepfake.sources.zips import TooManyFiles, Zip

# No photograph of a face is larger; larger files are not read into memory.
MAX_FILE_BYTES = 64_000_000
DAMAGED = "damaged in the archive"
_GIGABYTE = 1_000_000_000


class Archive:
    """A directory or a zip file.

    Args:
        path: the directory or the zip, or its address, such as `s3://bucket/faces`.
        limits: how much it may hold.

    Attributes:
        path: the directory or the zip.
        members: the files by their path in the archive: forward slashes, Unicode NFC, sorted.
        rejected: files that cannot be named or read safely.

    `read` may be called by many threads.

    Raises:
        PipelineError: the path is not there, is neither a directory nor a zip, or holds more than
            `limits` allow.
    """

    def __init__(self, path: Path | str, limits: ArchiveParams) -> None:
        self.path = path
        self._limits = limits
        self.rejected: list[Rejected] = []
        self._zip: Zip | None = None
        self._remote = Remote(str(path)) if is_address(path) else None
        found = self._found()
        try:
            self.members = Members(self._admitted(found))
            self.rejected += [Rejected(p, "name used twice") for p in self.members.ambiguous]
            self.rejected.sort(key=lambda item: (item.path, item.reason))
            self._check_total()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._zip is not None:
            self._zip.close()

    def _found(self) -> Iterator[tuple[str, Member | str]]:
        """Open the zip, if it is one; return what is in it or in the directory."""
        local = Path(self.path)
        if self._remote is not None and not self._remote.is_zip:
            return self._remote.listed()
        if self._remote is not None:
            self._zip = Zip(self.path, self._limits.max_files, self._remote.opened())
        elif local.is_dir():
            return directory.listed(local)
        elif local.is_file():
            self._zip = Zip(local, self._limits.max_files)
        else:
            raise PipelineError(
                f"no such directory or zip: {_from_the_root(local)} (that is "
                f"{local.absolute()}). Relative paths start at the repository's root."
            )
        return self._zip.members(self._limits.max_ratio)

    @property
    def tag(self) -> str | None:
        """What its server calls this version of a zip at an address; None for all others."""
        return self._remote.tag if self._remote and self.is_zip else None

    @property
    def is_zip(self) -> bool:
        return self._zip is not None

    def read(self, path: str) -> bytes:
        """Read a member.

        Raises:
            Unreadable: with the reason.
        """
        member = self.members[path]
        if member.size > MAX_FILE_BYTES:
            raise Unreadable("file too large")
        if self._zip is not None:
            data = self._unpacked(self._zip, member)
        elif self._remote is not None:
            data = self._remote.read(member.name, MAX_FILE_BYTES + 1) if member.size else b""
        else:
            data = directory.read(Path(self.path), member.name, MAX_FILE_BYTES + 1)
        if len(data) > MAX_FILE_BYTES:
            raise Unreadable("file too large")
        return data

    @staticmethod
    def _unpacked(zip: Zip, member: Member) -> bytes:
        try:
            return zip.read(member)
        except PipelineError:  # of a server that stays away
            raise
        except OSError:
            raise Unreadable(directory.UNREADABLE) from None
        except Exception as error:
            # Of zipfile or the decompressor: the bytes are not what the zip's list promises.
            raise Unreadable(DAMAGED) from error

    def _check_total(self) -> None:
        if self._zip is None:
            return
        total = self.members.bytes
        if total > self._limits.max_gigabytes * _GIGABYTE:
            raise PipelineError(
                f"{self.path} would unpack to {total / _GIGABYTE:.4g} GB, from "
                f"{self._zip.size / _GIGABYTE:.4g} GB; data.archive.max_gigabytes allows "
                f"{self._limits.max_gigabytes:g}. Raise it if the archive is what you expect it "
                "to be; it is read in place, and needs no room on the disk."
            )

    def _admitted(self, found: Iterator[tuple[str, Member | str]]) -> Iterator[Member]:
        """Yield the members that can be used; put the others into `rejected`.

        Args:
            found: raw names, each with its member or with the reason why it is refused.
        """
        for number, (name, member) in enumerate(found, start=1):
            if number > self._limits.max_files:
                raise TooManyFiles(self.path, self._limits.max_files)
            if isinstance(member, str):
                self.rejected.append(Rejected(printable(name), member))
            elif not is_safe(name):
                self.rejected.append(Rejected(printable(name), "unsafe name"))
            else:
                yield member


def _from_the_root(path: Path) -> Path:
    """`path` relative to the repository, if it is in there."""
    root = repository()
    return path.relative_to(root) if path.is_relative_to(root) else path
