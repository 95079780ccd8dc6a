"""Download from Kaggle with its own client: find the newest version, fetch or resume an archive.

The `kaggle` package alone sees credentials. It is imported when it is needed: its import already
looks for credentials, and takes a second.
"""

import contextlib
import functools
import io
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deepfake.common.errors import PipelineError
from deepfake.sources import kaggle_transfer
from deepfake.sources.kaggle_retry import CREDENTIALS, DataSet, patiently

# Where archives are kept, from the repository's root.
CACHE = "cache/kaggle"


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
    deadline = time.monotonic() + kaggle_transfer.DEADLINE
    patiently(lambda: _download_once(api, data_set, path, deadline), data_set, path)
    return path


def _download_once(api: Any, data_set: DataSet, path: Path, deadline: float) -> None:
    from kagglesdk.datasets.types.dataset_api_service import ApiDownloadDatasetRequest

    request = ApiDownloadDatasetRequest()
    request.owner_slug, request.dataset_slug = data_set.owner, data_set.slug
    request.dataset_version_number = data_set.version
    # The client could receive it as well, but it believes whatever range a server sends, and has no
    # limit on time.
    with (
        _silence(),
        api.build_kaggle_client() as client,
        client.datasets.dataset_api_client.download_dataset(request) as response,
    ):
        kaggle_transfer.receive(response, path, deadline)


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
        session.send = functools.partial(session.send, timeout=kaggle_transfer.PATIENCE)
        return client

    api.build_kaggle_client = build_kaggle_client


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Swallow the notices that the client prints; progress goes to standard error."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield
