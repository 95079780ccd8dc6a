"""Bounds on what an MLflow server answers: its size, and where it wants files to be.

Importing this imports MLflow.
"""

from typing import Any
from urllib.parse import urlsplit

import requests
from mlflow.store.artifact import artifact_repository_registry as places
from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository
from mlflow.utils import request_utils

from deepfake.common.address import uri

_MOST_BYTES = 256_000_000  # a thousand runs with all their parameters take a tenth of it
_PIECE = 65_536


class BoundedAdapter(request_utils.TCPKeepAliveHTTPAdapter):  # type: ignore[misc]
    """MLflow's own way to send a request, which would read an answer of any size into memory."""

    def send(
        self, request: requests.PreparedRequest, stream: bool = False, **options: Any
    ) -> requests.Response:
        response: requests.Response = super().send(request, stream=True, **options)
        if not stream:  # else the caller writes the answer to a file, piece by piece
            response._content = _read(response)
        return response


def _read(response: requests.Response) -> bytes:
    pieces, size = [], 0
    for piece in response.iter_content(_PIECE):
        pieces.append(piece)
        size += len(piece)
        if size > _MOST_BYTES:
            response.close()
            raise OSError(f"the answer is longer than {_MOST_BYTES // 1_000_000} MB")
    return b"".join(pieces)


def check_place(place: str) -> None:
    """Refuse a place for files that a server must not name.

    With a folder of this machine it would have files written where it likes, and others sent to
    it. `models:` and `runs:` are names that it resolves itself, perhaps to such a folder.

    Raises:
        PermissionError: MLflow's store is a server, and `place` is such a place.
    """
    scheme = urlsplit(place).scheme
    if uri().startswith(("http:", "https:")) and scheme in ("", "file", "models", "runs"):
        raise PermissionError(
            f"the server names a folder of this machine for files, {place[:100]}. That is refused: "
            "it has to take them itself (mlflow server --serve-artifacts)"
        )


def _folder(place: str, *values: Any, **named: Any) -> LocalArtifactRepository:
    """MLflow's access to files in a folder of this machine, where no server has named it."""
    check_place(place)
    return LocalArtifactRepository(place, *values, **named)


def bound() -> None:
    """Let MLflow send its requests through `BoundedAdapter`."""
    request_utils.TCPKeepAliveHTTPAdapter = BoundedAdapter


def refuse_folders() -> None:
    """Let no call of MLflow in this process open a folder while a server is the store.

    For processes that are ours alone: a user's own program may have models in folders.
    """
    for scheme in ("", "file"):
        places._artifact_repository_registry.register(scheme, _folder)
