"""Data sets of Kaggle, downloaded once into a cache and read there in place.

`cache/kaggle/<owner>/<slug>/<version>/` holds `archive.zip` and `archive.sha256` (in the format of
`sha256sum`; written by the first download of that version, checked by every later run). A download
grows in `partial/` next to them, is continued after an interruption, and becomes `archive.zip` once
it has been tested.
"""

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from deepfake.common.environment import anchored
from deepfake.common.errors import PipelineError
from deepfake.common.files import move, sha256_file, write_text
from deepfake.common.progress import shown
from deepfake.params import ArchiveParams, FolderParams, KaggleParams
from deepfake.sources import kaggle_client
from deepfake.sources.archive import DAMAGED, Archive
from deepfake.sources.base import Unreadable
from deepfake.sources.folder import FolderSource
from deepfake.sources.kaggle_retry import DataSet, say
from deepfake.sources.layouts import ClassNames
from deepfake.sources.zips import NotAZip


@dataclass(frozen=True, slots=True)
class Known:
    """A data set whose layout and labels are known: class folders in split folders in `below`."""

    below: str
    real: str
    fake: str


# Labels are taken from the folders. The 140k set has tables as well, and there 1 means real.
KNOWN = {
    "xhlulu/140k-real-and-fake-faces": Known("real_vs_fake/real-vs-fake", "real", "fake"),
    "manjilkarki/deepfake-and-real-images": Known("Dataset", "Real", "Fake"),
}


def open_kaggle(params: KaggleParams, folder: FolderParams, limits: ArchiveParams) -> FolderSource:
    """Open the source that `data.kaggle` names, downloading it if it is not in the cache.

    A data set that is not `KNOWN` is read by the rules of `data.folder` (but not its path).

    Raises:
        PipelineError: no credentials, refused, no such data set, cut off, or other bytes than
            were first downloaded.
    """
    data_set = parse(params.dataset)
    archive, version, sha256 = fetch(data_set, limits)
    description = {"name": f"kaggle:{data_set.ref}", "version": str(version)}
    known = KNOWN.get(data_set.ref.lower())
    if known is None:
        names, table, below = ClassNames(folder.real, folder.fake), folder.csv, None
    else:
        names, table, below = ClassNames([known.real], [known.fake]), None, known.below
    name = f"{data_set.ref}/{version}"
    return FolderSource(
        archive, name, names, limits, table, below, description, sha256, source=data_set.slug
    )


def parse(text: str) -> DataSet:
    """Parse `owner/slug` or `owner/slug/version`; raises PipelineError for anything else."""
    parts = text.split("/")
    if len(parts) not in (2, 3) or any(not part.strip(".") for part in parts):
        raise PipelineError(f"data.kaggle.dataset: received {text!r}; expected owner/slug/version")
    return DataSet(parts[0], parts[1], int(parts[2]) if len(parts) == 3 else None)


def fetch(data_set: DataSet, limits: ArchiveParams) -> tuple[Path, int, str]:
    """Download an archive into the cache if it is not there, and check it.

    With a version given, an archive in the cache needs neither network nor credentials. Other
    processes that want the same archive wait for this one.

    Returns:
        Path, version and SHA-256 of the archive.

    Raises:
        PipelineError: it cannot be downloaded, or is damaged, or not the archive first downloaded.
    """
    version = data_set.version or kaggle_client.newest_version(data_set)
    data_set = DataSet(data_set.owner, data_set.slug, version)
    folder = anchored(kaggle_client.CACHE) / data_set.owner / data_set.slug / str(version)
    archive, record = folder / "archive.zip", folder / "archive.sha256"
    folder.mkdir(parents=True, exist_ok=True)
    with _only_one(folder / "lock"):
        if not archive.exists():
            partial = kaggle_client.download(data_set, folder / "partial")
            _test(partial, limits)
            sha256 = _checked(partial, record, data_set)
            move(partial, archive)
            shutil.rmtree(partial.parent, ignore_errors=True)
        else:
            sha256 = _checked(archive, record, data_set)
    return archive, version, sha256


@contextlib.contextmanager
def _only_one(path: Path) -> Iterator[None]:
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        say(f"another process is fetching this data set; waiting for {path}")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _checked(archive: Path, record: Path, data_set: DataSet) -> str:
    """Return the archive's SHA-256; it is recorded the first time, and then must be the same."""
    sha256 = sha256_file(archive)
    if not record.exists():
        write_text(record, f"{sha256}  archive.zip\n")
        return sha256
    recorded = (record.read_text(encoding="utf-8").split() or ["nothing"])[0]
    if recorded != sha256:
        raise PipelineError(
            f"{archive} is not the archive that was first downloaded as {data_set.ref} version "
            f"{data_set.version}: its SHA-256 is {sha256}, recorded in {record} is {recorded}. "
            "Results would not be comparable. If the file was damaged, delete it and run again; "
            f"if Kaggle changed the version and you want the new one, delete {record.parent}."
        )
    return sha256


def _test(archive: Path, limits: ArchiveParams) -> None:
    """Read the whole archive; if it is damaged, delete it and raise PipelineError."""
    try:
        with Archive(archive, limits) as files:
            damaged = _first_damaged(files)
        fault = f"the checksum of {damaged!r} in it is wrong" if damaged else None
    except NotAZip as error:
        fault = error.fault
    if fault:
        size = archive.stat().st_size
        archive.unlink()
        raise PipelineError(
            f"what Kaggle sent is not a zip that can be read: {fault} ({size} bytes, deleted). "
            "Run again; if it repeats, download the data set in a browser and use "
            "data.source: folder."
        )


def _first_damaged(files: Archive) -> str | None:
    """Return the path of the first file whose content is not what the zip promises, if any."""
    for path in shown(files.members, len(files.members), "checksums", "files"):
        try:
            files.read(path)
        except Unreadable as error:
            # Files refused for another reason are named one by one by `ingest`.
            if error.reason == DAMAGED:
                return path
    return None
