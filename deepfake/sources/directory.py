"""The regular files of a directory: list them, read one.

A link is followed if it stays in the directory, or leads to a file of a DVC cache: DVC may keep the
files of a directory there. No other file is read, whatever name leads to it.
"""

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from deepfake.common.errors import PipelineError
from deepfake.common.files import read_regular
from deepfake.common.text import shown
from deepfake.sources.base import Unreadable
from deepfake.sources.members import Member, canonical, is_junk

UNREADABLE = "cannot be read from disk"
SPECIAL = "link or special file"
OUTSIDE = "link out of the folder"
# DVC names a file in its cache by the MD5 of its content: 2 digits for a folder, 30 for the file.
_IN_DVC_CACHE = re.compile(r"[/\\][0-9a-f]{2}[/\\][0-9a-f]{30}\Z")


def listed(root: Path) -> Iterator[tuple[str, Member | str]]:
    """Yield the name of each file with its member, or with the reason why it is refused.

    Each folder is listed once, whatever links lead to it.

    Raises:
        PipelineError: a folder cannot be listed, or is a link out of `root`.
    """
    top = os.path.realpath(root)
    waiting = [""]
    seen: set[str] = set()
    while waiting:
        folder = waiting.pop()
        real = os.path.realpath(os.path.join(root, folder))
        if real in seen:
            continue
        seen.add(real)
        folders: list[str] = []
        for entry in _entries(root, folder):
            name = f"{folder}/{entry.name}" if folder else entry.name
            if is_junk(name):
                continue
            if not _is_folder(entry):
                yield name, _member(entry, name, top)
                continue
            target = os.path.realpath(entry.path)
            if entry.is_symlink() and not Path(target).is_relative_to(top):
                raise PipelineError(
                    f"{root}: the folder {shown(name)} is a link out of it, to {shown(target)}. "
                    "Copy or move that folder in, or name it in data.folder.path."
                )
            folders.append(name)
        waiting += reversed(folders)


def read(root: Path, name: str, most: int) -> bytes:
    """Read at most `most` bytes of a file.

    Raises:
        Unreadable: it is no regular file any more, or cannot be read.
    """
    try:
        data = read_regular(os.path.join(root, name), most)
    except OSError:
        raise Unreadable(UNREADABLE) from None
    if data is None:
        raise Unreadable(SPECIAL)
    return data


def _entries(root: Path, folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(os.path.join(root, folder)) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise PipelineError(
            f"{root}: the folder {shown(folder) or '.'} cannot be listed: {error.strerror}. The "
            "images in it would be missing; make it readable, or move it away."
        ) from None


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _member(entry: os.DirEntry[str], name: str, top: str) -> Member | str:
    """A file that can be read, or the reason why it is refused."""
    try:
        status = entry.stat()
    except OSError:
        return UNREADABLE
    if not stat.S_ISREG(status.st_mode):
        return SPECIAL
    if entry.is_symlink() and not _may_lead_to(os.path.realpath(entry.path), top):
        return OUTSIDE
    return Member(canonical(name), status.st_size, None, name)


def _may_lead_to(file: str, top: str) -> bool:
    return Path(file).is_relative_to(top) or _IN_DVC_CACHE.search(file) is not None
