"""A bound on the size of what an MLflow server answers. Importing this imports MLflow."""

from typing import Any

import requests
from mlflow.utils import request_utils

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


def bound() -> None:
    """Let MLflow send its requests through `BoundedAdapter`."""
    request_utils.TCPKeepAliveHTTPAdapter = BoundedAdapter
