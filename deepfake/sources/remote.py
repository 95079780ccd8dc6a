"""Directories and zips at an address, such as `s3://bucket/faces`, listed and read in a stream.

fsspec knows the protocols, and the package of each finds its credentials by itself. What breaks off
is tried again; a server that stays away stops the run, so that no image is taken for a broken one.
"""

import io
import re
from collections.abc import Callable, Iterator
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeVar

from tenacity import Retrying, retry_if_not_exception_type, stop_after_attempt, wait_exponential

from deepfake.common.address import without_secrets
from deepfake.common.environment import anchored
from deepfake.common.errors import PipelineError
from deepfake.sources.base import Unreadable
from deepfake.sources.members import Member, canonical, is_junk

GONE = "is not there any more"
_BLOCK_BYTES = 4_000_000  # that are read ahead in a zip
_PLAIN = re.compile(r"[a-z][a-z0-9+.-]*://[^\s@?#]+")
_ATTEMPTS = 4  # of each request
_FIRST_WAIT = 0.5  # seconds before the second attempt; each wait is twice the one before

_T = TypeVar("_T")


def is_address(path: Path | str) -> bool:
    """Whether a path is an address, such as `s3://bucket/faces`, and not on this machine's disk."""
    return "://" in str(path)


def is_plain(address: str) -> bool:
    """Whether an address has no user, password and query, nor what could be taken for them."""
    return _PLAIN.fullmatch(address) is not None


def located(path: str) -> Path | str:
    """An address as it is; any other path as `anchored` gives it."""
    return path if is_address(path) else anchored(path)


class Remote:
    """A directory or a zip at an address; many threads may read.

    Args:
        address: with a protocol that fsspec knows. Over HTTP it is a zip: web servers list nothing.

    Raises:
        PipelineError: the protocol is unknown or lacks its package, nothing is there, access is
            denied, or the server does not answer.
    """

    def __init__(self, address: str) -> None:
        from fsspec.core import url_to_fs  # 0.1 s

        self._address = _allowed(address)
        try:
            self._system, self._root = url_to_fs(address, use_listings_cache=False)
        except Exception as error:  # some protocols connect at once, with errors of their own
            raise PipelineError(f"{address}: {_reason(error)}") from None

    @cached_property
    def _info(self) -> dict[str, Any]:
        found: dict[str, Any] = self._steadily(lambda: self._system.info(self._root))
        return found

    @property
    def is_zip(self) -> bool:
        return self._address.startswith("http") or self._info["type"] == "file"

    @property
    def size(self) -> int:
        """Bytes of the zip."""
        return int(self._info.get("size") or 0)

    @property
    def tag(self) -> str | None:
        """What the server calls this version of the zip; None if it does not tell."""
        tag = self._info.get("ETag") or self._info.get("etag") or self._info.get("md5Hash")
        return None if tag is None else str(tag).strip('"')

    def listed(self) -> Iterator[tuple[str, Member]]:
        """Yield the name of each file of the directory with its member, folder by folder.

        Raises:
            PipelineError: access is denied, or the server does not answer.
        """
        waiting = [""]
        while waiting:
            folder = waiting.pop()
            entries = self._steadily(partial(self._system.ls, self._at(folder), detail=True))
            folders = []
            for entry in sorted(entries, key=lambda entry: str(entry["name"])):
                name = str(entry["name"]).removeprefix(self._root).strip("/")
                if name == folder or is_junk(name):  # S3 may list a folder as a file in itself
                    continue
                if entry["type"] == "directory":
                    folders.append(name)
                else:
                    yield name, Member(canonical(name), int(entry["size"] or 0), None, name)
            waiting += reversed(folders)

    def read(self, name: str, most: int) -> bytes:
        """Read at most `most` bytes of a file of the directory.

        Raises:
            Unreadable: it is not there any more.
            PipelineError: access is denied, or the server does not answer.
        """
        try:
            return self._steadily(
                lambda: bytes(self._system.cat_file(self._at(name), start=0, end=most))
            )
        except _Gone:
            raise Unreadable(GONE) from None

    def opened(self) -> io.RawIOBase:
        """The zip as a stream in which one can seek.

        Raises:
            PipelineError: the server does not say how long the zip is.
        """
        if self._info.get("size") is None:
            raise PipelineError(
                f"{self._address}: the server does not say how long it is, so that it cannot be "
                "read in place: download it, and give the path of the file"
            )
        file = self._steadily(
            lambda: self._system.open(
                self._root, "rb", block_size=_BLOCK_BYTES, cache_type="readahead"
            )
        )
        return _Stream(file, self.size, self._steadily)

    def _at(self, name: str) -> str:
        return f"{self._root.rstrip('/')}/{name}" if name else self._root

    def _steadily(self, call: Callable[[], _T]) -> _T:
        """Return what a call returns, which is made again if the connection fails."""
        again = Retrying(
            retry=retry_if_not_exception_type((FileNotFoundError, PermissionError)),
            wait=wait_exponential(_FIRST_WAIT),
            stop=stop_after_attempt(_ATTEMPTS),
            reraise=True,
        )
        try:
            return again(call)
        except FileNotFoundError:
            raise _Gone(f"no such directory or zip: {self._address}") from None
        except PermissionError as error:
            raise PipelineError(
                f"{self._address}: access is denied ({_reason(error)}). The package of the "
                "protocol looks for credentials as it documents it"
            ) from None
        except Exception as error:  # each package has errors of its own
            raise PipelineError(
                f"{self._address}: cannot be read after {_ATTEMPTS} attempts ({_reason(error)}). "
                "Run it again when the server answers"
            ) from None


class _Gone(PipelineError):
    """What is not at its address."""


class _Stream(io.RawIOBase):
    """A file of fsspec whose reads are made again if the connection fails.

    Args:
        file: as fsspec opens it.
        size: in bytes.
        steadily: makes a call again.
    """

    def __init__(
        self, file: Any, size: int, steadily: Callable[[Callable[[], bytes]], bytes]
    ) -> None:
        super().__init__()
        self._file, self._size, self._steadily = file, size, steadily
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(0, start + offset)
        return self._position

    def readinto(self, buffer: Any, /) -> int:
        def piece() -> bytes:
            self._file.seek(self._position)
            return bytes(self._file.read(len(buffer)))

        data = self._steadily(piece) if self._position < self._size else b""
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()


def _allowed(address: str) -> str:
    """Return `address`.

    Raises:
        PipelineError: it may hold a key, which reports and runs would then show; or it leads to
            this machine's disk.
    """
    shown = without_secrets(address)
    if not is_plain(address):
        raise PipelineError(
            f"an address as s3://bucket/folder is expected, without user, password and query; "
            f"received one at {shown}. The package of the protocol looks for credentials as it "
            "documents it"
        )
    if address.startswith(("file:", "local:")):
        raise PipelineError(f"{shown} is on this machine: give its path without {address[:5]}//")
    return address


def _reason(error: Exception) -> str:
    """An error in a few words, without addresses and what is secret in them."""
    return without_secrets(" ".join(str(error).split()))[:200] or type(error).__name__
