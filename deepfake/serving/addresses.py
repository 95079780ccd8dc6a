"""Image files at an address, such as `s3://bucket/faces`, listed and read in a stream."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from deepfake.common.errors import PipelineError
from deepfake.serving.places import Refused

if TYPE_CHECKING:
    from deepfake.sources.remote import Remote


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file at an address.

    Attributes:
        address: of the folder that was named, or of the file itself.
        name: of the file in that folder; empty for the file itself.
        size: bytes.
    """

    address: str
    name: str
    size: int

    def content(self) -> bytes:
        from deepfake.sources.base import Unreadable

        if not self.size:
            return b""  # a server refuses to send nothing
        try:
            return remote(self.address).read(self.name, self.size)
        except Unreadable as error:
            raise Refused(str(error)) from None


def listed(address: str) -> Iterator[tuple[str, int]]:
    """Yield the name and size of each file in the folder at an address; one without a name if a
    file is there.

    Raises:
        PipelineError: nothing is there, access is denied, or the server does not answer.
    """
    found = remote(address)
    if found.is_zip:  # a file, whatever its name says
        yield "", found.size
    else:
        for name, member in found.listed():
            yield name, member.size


@lru_cache(maxsize=1)
def remote(address: str) -> "Remote":
    """The folder or file at an address; the last one stays connected.

    Raises:
        PipelineError: as `sources.remote.Remote` does, or a package is missing.
    """
    try:
        from deepfake.sources.remote import Remote
    except ModuleNotFoundError as error:
        raise PipelineError(
            f"images at an address need {error.name}: pip install '.[pipeline]' in the project's "
            "folder"
        ) from None
    return Remote(address)
