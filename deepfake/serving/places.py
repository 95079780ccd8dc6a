"""Where an image file may be that is no file on this disk: in a zip, a Parquet table, a bucket."""

import zipfile
from dataclasses import dataclass
from typing import Protocol

from deepfake.common.text import shown
from deepfake.serving import zips


class Refused(Exception):
    """A file that cannot be read; the message is the reason, for its row."""


class Place(Protocol):
    """Where one file is; small, and can be sent to another machine that reads it."""

    def content(self) -> bytes:
        """Return the bytes of the file, which may be longer than is allowed.

        Raises:
            Refused: it cannot be read.
        """


@dataclass(frozen=True, slots=True)
class ZipMember:
    """A member of a zip.

    Attributes:
        path: of the zip.
        member: as the zip lists it.
    """

    path: str
    member: zipfile.ZipInfo

    def content(self) -> bytes:
        try:
            return zips.content(self.path, self.member)
        except zips.DAMAGED as error:
            raise Refused(f"damaged in the zip: {shown(str(error))}") from None
