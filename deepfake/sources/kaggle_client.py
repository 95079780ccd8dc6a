"""Download from Kaggle with its own client: find the newest version, fetch or resume an archive.

The `kaggle` package alone sees credentials. It is imported when it is needed: its import already
looks for credentials, and takes a second.
"""

import contextlib
import functools
import io
import logging
import os
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deepfake.common.errors import PipelineError
from deepfake.sources.kaggle_retry import CREDENTIALS, DataSet, file_size, patiently, say

# Where archives are kept, from the repository's root.
CACHE = "cache/kaggle"
# Seconds without a byte after which a connection counts as lost.
PATIENCE = 60
# Bytes written at a time: what a cut connection may lose.
CHUNK = 1 << 18
SECONDS_BETWEEN_LINES = 10


def newest_version(data_set: DataSet) -> int:
    """Ask Kaggle for the newest version of a data set.

    Raises:
        PipelineError: no credentials, no such data set, or no answer.
    """
    api = _client(data_set)
    from kagglesdk.datasets.types.dataset_api_service import ApiGetDatasetRequest

    request = ApiGetDatasetRequest()
    request.owner_slug, request.dataset_slug = data_set.owner, data_set.slug

    def ask() -> int:
        with _silence(), api.build_kaggle_client() as client:
            answer = client.datasets.dataset_api_client.get_dataset(request)
        return int(answer.current_version_number)

    return patiently(ask, data_set)


def download(data_set: DataSet, folder: Path) -> Path:
    """Download an archive, continuing what is in `folder`; returns the path of the whole file.

    Raises:
        PipelineError: no credentials, refused, too little room, or cut off too often.
    """
    api = _client(data_set)
    path = folder / f"{data_set.slug}.zip"
    patiently(lambda: _download_once(api, data_set, path), data_set, path)
    return path


def _download_once(api: Any, data_set: DataSet, path: Path) -> None:
    from kagglesdk.datasets.types.dataset_api_service import ApiDownloadDatasetRequest

    request = ApiDownloadDatasetRequest()
    request.owner_slug, request.dataset_slug = data_set.owner, data_set.slug
    request.dataset_version_number = data_set.version
    quiet = not sys.stderr.isatty()
    with _silence(), api.build_kaggle_client() as client:
        response = client.datasets.dataset_api_client.download_dataset(request)
        total = int(response.headers.get("Content-Length") or 0)
        if _is_whole(path, total) and not api.download_needed(response, str(path), True):
            return  # downloaded by a run that was stopped before it was done with the file
        path.parent.mkdir(parents=True, exist_ok=True)
        _require_space(path, total)
        with _progress_lines(path, total) if quiet else contextlib.nullcontext():
            # The client's own retries would write an error page over what has arrived, so each
            # attempt starts with a new request, whose status it does check.
            api.download_file(
                response, str(path), client.http_client(), quiet, resume=True, chunk_size=CHUNK,
                max_retries=0, timeout=PATIENCE,
            )  # fmt: skip


def _is_whole(path: Path, total: int) -> bool:
    """Whether a download is finished: the client keeps a marker next to those that are not."""
    return file_size(path) == total and not Path(f"{path}.kaggle-partial").exists()


def _client(data_set: DataSet) -> Any:
    """Return Kaggle's client with the user's credentials.

    Importing `kaggle` already looks for credentials and prints a page if there are none, and
    `authenticate` exits the program.
    """
    try:
        with _silence():
            from kaggle.api.kaggle_api_extended import KaggleApi

        api = KaggleApi()
        # Its verbose mode (VERBOSE=1) prints requests with their Authorization header, and
        # whole archives.
        api.args = [argument for argument in api.args if argument != "--verbose"]
        # At its debug level urllib3 logs the signed addresses of downloads.
        logging.getLogger("urllib3").setLevel(logging.INFO)
        _limit_waiting(api)
        patiently(lambda: _authenticate(api), data_set)
    except SystemExit:
        given = any(os.environ.get(name) for name in ("KAGGLE_API_TOKEN", "KAGGLE_KEY"))
        what = "Kaggle does not accept the credentials given" if given else "no Kaggle credentials"
        message = f"{what}, and {data_set.ref} is not in {CACHE}. {CREDENTIALS}"
        raise PipelineError(message) from None
    return api


def _authenticate(api: Any) -> None:
    with _silence():
        api.authenticate()


def _limit_waiting(api: Any) -> None:
    """Give the client's connections a time limit; without one it waits forever."""
    build = api.build_kaggle_client

    def build_kaggle_client() -> Any:
        client = build()
        session = client.http_client()._init_session() or client.http_client()._session
        session.send = functools.partial(session.send, timeout=PATIENCE)
        return client

    api.build_kaggle_client = build_kaggle_client


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Swallow the notices that the client prints; progress goes to standard error."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield


@contextlib.contextmanager
def _progress_lines(path: Path, total: int) -> Iterator[None]:
    """Report a growing file by a line every few seconds."""
    finished = threading.Event()
    started, first = time.monotonic(), file_size(path)

    def watch() -> None:
        while not finished.wait(SECONDS_BETWEEN_LINES):
            size = file_size(path)
            rate = max(1.0, (size - first) / (time.monotonic() - started))
            say(
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
    needed = total - file_size(path)
    free = shutil.disk_usage(path.parent).free
    if needed > free:
        raise PipelineError(
            f"the archive needs {needed / 1e6:.0f} MB more in {path.parent}, where "
            f"{free / 1e6:.0f} MB are free: make room, or let {CACHE} be a link to another disk"
        )
