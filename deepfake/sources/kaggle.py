"""Data sets of Kaggle, downloaded once into a cache and read there in place.

`cache/kaggle/<owner>/<slug>/<version>/` holds `archive.zip` and `archive.sha256` (as `sha256sum`
writes it, made when that version is first downloaded and checked ever after). A download grows in
`partial/` beside them, is continued after whatever interrupted it, and becomes `archive.zip` once
it has been tested. The `kaggle` package talks to Kaggle and alone sees credentials.
"""

import contextlib
import importlib
import io
import logging
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock, Timeout

from deepfake.common.errors import PipelineError
from deepfake.common.files import sha256_file, write_text
from deepfake.common.progress import shown
from deepfake.params import ArchiveParams, FolderParams, KaggleParams
from deepfake.sources.archive import DAMAGED, Archive, NotAZip
from deepfake.sources.base import Unreadable, anchored
from deepfake.sources.folder import FolderSource
from deepfake.sources.layouts import ClassNames

CACHE = "cache/kaggle"
# Seconds without a byte after which a connection counts as lost.
PATIENCE = 60
# Bytes written at a time: what a cut connection may lose.
CHUNK = 1 << 18
# Attempts in a row that bring nothing new; one that brings bytes starts the count again.
ATTEMPTS = 5
# The first wait between attempts, in seconds; each is twice the one before.
FIRST_WAIT = 2.0
LONGEST_WAIT = 120.0
SECONDS_BETWEEN_LINES = 10

CREDENTIALS = (
    "Create an API token at https://www.kaggle.com/settings/api (Generate New Token) and put it "
    "into the environment variable KAGGLE_API_TOKEN or the file ~/.kaggle/access_token, or run "
    "`kaggle auth login`; an older ~/.kaggle/kaggle.json, or KAGGLE_USERNAME and KAGGLE_KEY, serve "
    "as well. Without an account: data.source: sample draws its own images, and data.source: "
    "folder reads a directory or zip that you have."
)


T = TypeVar("T")


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


@dataclass(frozen=True, slots=True)
class DataSet:
    """What `owner/slug` or `owner/slug/version` names."""

    owner: str
    slug: str
    version: int | None

    @property
    def ref(self) -> str:
        return f"{self.owner}/{self.slug}"

    @property
    def page(self) -> str:
        return f"https://www.kaggle.com/datasets/{self.ref}"


def open_kaggle(params: KaggleParams, folder: FolderParams, limits: ArchiveParams) -> FolderSource:
    """The source that `data.kaggle` names, downloading it if it is not in the cache.

    A data set that is not `KNOWN` is read by the rules of `data.folder` (but for its path).

    Raises:
        PipelineError: no credentials, refused, not there, cut off, or not the bytes of before.
    """
    data_set = parse(params.dataset)
    archive, version, sha256 = fetch(data_set, limits)
    description = {"name": f"kaggle:{data_set.ref}", "version": str(version)}
    known = KNOWN.get(data_set.ref.lower())
    if known is None:
        names, table, below = ClassNames(folder.real, folder.fake), folder.csv, None
    else:
        names, table, below = ClassNames([known.real], [known.fake]), None, known.below
    shown = f"{data_set.ref}/{version}"
    return FolderSource(archive, shown, names, limits, table, below, description, sha256)


def parse(text: str) -> DataSet:
    """`owner/slug` or `owner/slug/version`; raises PipelineError for anything else."""
    parts = text.split("/")
    if len(parts) not in (2, 3) or any(not part.strip(".") for part in parts):
        raise PipelineError(f"data.kaggle.dataset: received {text!r}; expected owner/slug/version")
    return DataSet(parts[0], parts[1], int(parts[2]) if len(parts) == 3 else None)


def fetch(data_set: DataSet, limits: ArchiveParams) -> tuple[Path, int, str]:
    """Path, version and SHA-256 of the data set's archive in the cache.

    An archive that is there and unchanged needs neither network nor credentials, if the version
    is given. Other processes that want the same archive wait for this one.
    """
    version = data_set.version or _newest_version(data_set)
    data_set = DataSet(data_set.owner, data_set.slug, version)
    folder = anchored(CACHE) / data_set.owner / data_set.slug / str(version)
    archive, record = folder / "archive.zip", folder / "archive.sha256"
    folder.mkdir(parents=True, exist_ok=True)
    with _only_one(folder / "lock"):
        if not archive.exists():
            partial = _download(data_set, folder / "partial")
            _test(partial, limits)
            sha256 = _checked(partial, record, data_set)
            os.replace(partial, archive)
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
        _say(f"another process is fetching this data set; waiting for {path}")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _checked(archive: Path, record: Path, data_set: DataSet) -> str:
    """The archive's SHA-256, which is recorded if none is, and else has to be the recorded one."""
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
    """Raises PipelineError, and deletes the file, if it is not a zip with right checksums."""
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
    """Path of the first file whose content is not what the zip promises; reads everything."""
    for path in shown(files.members, len(files.members), "checksums", "files"):
        try:
            files.read(path)
        except Unreadable as error:
            # Files refused for another reason are named one by one by `ingest`.
            if error.reason == DAMAGED:
                return path
    return None


def _download(data_set: DataSet, folder: Path) -> Path:
    """Download, continuing what is in `folder`; returns the path of the whole file."""
    api = _client(data_set)
    path = folder / f"{data_set.slug}.zip"
    _patiently(lambda: _download_once(api, data_set, path), data_set, path)
    return path


def _patiently(ask: Callable[[], T], data_set: DataSet, path: Path | None = None) -> T:
    """What `ask` returns, asking again after failures that may pass.

    Args:
        path: the file that is to grow; attempts are counted anew when it does.
    """
    attempt = 0
    while True:
        before = _size(path)
        try:
            return ask()
        except Exception as error:
            attempt = 1 if _size(path) > before else attempt + 1
            if attempt >= ATTEMPTS or not _may_pass(error):
                raise _explained(error, data_set, path) from None
            wait = _wait(error, attempt)
            _say(f"{_short(error)}; attempt {attempt + 1} of {ATTEMPTS} in {wait:.0f} s")
            time.sleep(wait)


def _download_once(api: Any, data_set: DataSet, path: Path) -> None:
    types = importlib.import_module("kagglesdk.datasets.types.dataset_api_service")
    request = types.ApiDownloadDatasetRequest()
    request.owner_slug, request.dataset_slug = data_set.owner, data_set.slug
    request.dataset_version_number = data_set.version
    quiet = not sys.stderr.isatty()
    with _silent(), api.build_kaggle_client() as client:
        response = client.datasets.dataset_api_client.download_dataset(request)
        total = int(response.headers.get("Content-Length") or 0)
        if _is_whole(path, total) and not api.download_needed(response, str(path), True):
            return  # downloaded by a run that was stopped before it was done with the file
        path.parent.mkdir(parents=True, exist_ok=True)
        _require_space(path, total)
        with _lines(path, total) if quiet else contextlib.nullcontext():
            # The client's own retries would write an error page over what has arrived, so each
            # attempt starts with a new request, whose status it does check.
            api.download_file(
                response, str(path), client.http_client(), quiet, resume=True, chunk_size=CHUNK,
                max_retries=0, timeout=PATIENCE,
            )  # fmt: skip


def _is_whole(path: Path, total: int) -> bool:
    """Whether a download is finished: the client keeps a marker beside those that are not."""
    return _size(path) == total and not Path(f"{path}.kaggle-partial").exists()


def _newest_version(data_set: DataSet) -> int:
    api = _client(data_set)
    types = importlib.import_module("kagglesdk.datasets.types.dataset_api_service")
    request = types.ApiGetDatasetRequest()
    request.owner_slug, request.dataset_slug = data_set.owner, data_set.slug

    def ask() -> int:
        with _silent(), api.build_kaggle_client() as client:
            answer = client.datasets.dataset_api_client.get_dataset(request)
        return int(answer.current_version_number)

    return _patiently(ask, data_set)


def _client(data_set: DataSet) -> Any:
    """Kaggle's client with the user's credentials.

    Importing `kaggle` already looks for credentials and prints a page if there are none, and
    `authenticate` exits the program.
    """
    try:
        with _silent():
            package = importlib.import_module("kaggle.api.kaggle_api_extended")
        api = package.KaggleApi()
        # Its verbose mode (VERBOSE=1) prints requests with their Authorization header, and
        # whole archives.
        api.args = [argument for argument in api.args if argument != "--verbose"]
        # At its debug level urllib3 logs the signed addresses of downloads.
        logging.getLogger("urllib3").setLevel(logging.INFO)
        _limit_waiting(api)
        _patiently(lambda: _authenticate(api), data_set)
    except SystemExit:
        given = any(os.environ.get(name) for name in ("KAGGLE_API_TOKEN", "KAGGLE_KEY"))
        what = "Kaggle does not accept the credentials given" if given else "no Kaggle credentials"
        message = f"{what}, and {data_set.ref} is not in {CACHE}. {CREDENTIALS}"
        raise PipelineError(message) from None
    return api


def _authenticate(api: Any) -> None:
    with _silent():
        api.authenticate()


def _limit_waiting(api: Any) -> None:
    """Give the client's connections a time limit; by itself it waits for ever."""
    requests = importlib.import_module("requests.adapters")

    class Impatient(requests.HTTPAdapter):  # type: ignore[name-defined, misc]
        def send(self, request: Any, **options: Any) -> Any:
            options["timeout"] = options.get("timeout") or PATIENCE
            return super().send(request, **options)

    build = api.build_kaggle_client

    def build_kaggle_client() -> Any:
        client = build()
        session = client.http_client()._init_session() or client.http_client()._session
        session.mount("https://", Impatient())
        session.mount("http://", Impatient())
        return client

    api.build_kaggle_client = build_kaggle_client


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """The client prints notices to standard output; progress goes to standard error."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield


@contextlib.contextmanager
def _lines(path: Path, total: int) -> Iterator[None]:
    """Report a growing file by a line every few seconds."""
    finished = threading.Event()
    started, first = time.monotonic(), _size(path)

    def watch() -> None:
        while not finished.wait(SECONDS_BETWEEN_LINES):
            size = _size(path)
            rate = max(1.0, (size - first) / (time.monotonic() - started))
            _say(
                f"downloaded {size / 1e6:.0f} of {total / 1e6:.0f} MB, {rate / 1e6:.1f} MB/s, "
                f"{(total - size) / rate:.0f} s left"
            )

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        finished.set()
        watcher.join()


def _require_space(path: Path, total: int) -> None:
    needed = total - _size(path)
    free = shutil.disk_usage(path.parent).free
    if needed > free:
        raise PipelineError(
            f"the archive needs {needed / 1e6:.0f} MB more in {path.parent}, where "
            f"{free / 1e6:.0f} MB are free: make room, or let {CACHE} be a link to another disk"
        )


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _size(path: Path | None) -> int:
    return path.stat().st_size if path is not None and path.exists() else 0


def _status(error: Exception) -> int | None:
    status = getattr(getattr(error, "response", None), "status_code", None)
    return status if isinstance(status, int) else None


def _may_pass(error: Exception) -> bool:
    """Whether trying again may help."""
    status = _status(error)
    if status is not None:
        return status == 429 or status >= 500
    # A ValueError is the client's word for a file of another length than announced.
    names = {cls.__name__ for cls in type(error).__mro__}
    return bool(names & {"RequestException", "HTTPError", "ValueError"}) and not _is_a_page(error)


def _is_a_page(error: Exception) -> bool:
    """Whether something else than Kaggle's API has answered."""
    return any(cls.__name__ == "JSONDecodeError" for cls in type(error).__mro__)


def _wait(error: Exception, attempt: int) -> float:
    """Seconds before the next attempt: as Kaggle asks, or longer from one to the next."""
    wait: float = FIRST_WAIT * 2 ** (attempt - 1)
    response = getattr(error, "response", None)
    asked = str(response.headers.get("Retry-After", "")) if response is not None else ""
    return min(max(wait, _seconds(asked)), LONGEST_WAIT)


def _seconds(retry_after: str) -> float:
    """A `Retry-After`, in seconds or as a date (RFC 9110, 10.2.3), as seconds from now."""
    if retry_after.isdigit():
        return float(retry_after)
    try:
        return parsedate_to_datetime(retry_after).timestamp() - time.time()
    except (TypeError, ValueError, OverflowError):
        return 0.0


def _short(error: Exception) -> str:
    """What happened, without addresses: those of a download are signed and so secret."""
    status = _status(error)
    if status is not None:
        return f"Kaggle answered with status {status}"
    return f"the connection to Kaggle failed ({type(error).__name__})"


def _explained(error: Exception, data_set: DataSet, path: Path | None) -> PipelineError:
    if isinstance(error, PipelineError):
        return error
    advice = {
        401: f"The credentials are not accepted. {CREDENTIALS}",
        403: f"Log in, open {data_set.page} and accept its terms; a private data set must be "
        "shared with you.",
        404: f"There is no such data set or version; see {data_set.page} and data.kaggle.dataset.",
        429: "That is too many requests; wait some minutes and run again.",
    }
    kept = f" What has arrived ({_size(path)} bytes) is kept and continued." if path else ""
    status = _status(error)
    if _is_a_page(error):
        return PipelineError(
            f"cannot download {data_set.ref}: something else than Kaggle answered. A proxy, or the "
            "page on which a network wants you to sign in, may be in the way."
        )
    if status is None and not _may_pass(error):
        text = f"cannot download {data_set.ref}: {type(error).__name__}"
        detail = f": {error.strerror}" if isinstance(error, OSError) and error.strerror else ""
        return PipelineError(f"{text}{detail}.{kept}")
    told = advice.get(status or 0, f"Run again when Kaggle can be reached.{kept}")
    version = f" version {data_set.version}" if data_set.version else ""
    return PipelineError(f"cannot download {data_set.ref}{version}: {_short(error)}. {told}")
