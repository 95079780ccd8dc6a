"""An S3 server on this machine, moto's, whose answers can be cut in the middle."""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import pytest
import s3fs
from werkzeug.serving import make_server

BUCKET = "faces"
KEY, SECRET = "AKIAKEYOFTHETESTS", "a-secret-key-of-the-tests"


class S3:
    """The server's application and what is done to it.

    Attributes:
        address: such as `http://127.0.0.1:1234`.
        cuts: how many answers with a file's content break off in their middle.
        is_down: whether each answer is that the server is not available.
        read: the ranges of the files that were asked for.
    """

    def __init__(self) -> None:
        from moto.server import DomainDispatcherApplication, create_backend_app

        self._application = DomainDispatcherApplication(create_backend_app)
        self._lock = threading.Lock()
        self.address = ""
        self.cuts = 0
        self.is_down = False
        self.read: list[str] = []

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        if self.is_down:
            start("503 Service Unavailable", [("Content-Length", "0")])
            return [b""]
        body = self._application(environ, start)
        is_file = environ["REQUEST_METHOD"] == "GET" and environ["PATH_INFO"].count("/") > 1
        if is_file:
            self.read.append(environ.get("HTTP_RANGE", "all"))
        with self._lock:
            if not (is_file and self.cuts):
                return body
            self.cuts -= 1
        return _half(b"".join(body))

    def put(self, files: Mapping[str, bytes], bucket: str = BUCKET) -> None:
        """Put files into a bucket, by their keys."""
        api = client(self.address)
        if bucket not in [found["Name"] for found in api.list_buckets()["Buckets"]]:
            api.create_bucket(Bucket=bucket)
        for key, data in files.items():
            api.put_object(Bucket=bucket, Key=key, Body=data, ACL="public-read")  # over HTTP, too


def _half(data: bytes) -> Iterator[bytes]:
    yield data[: len(data) // 2]
    raise ConnectionAbortedError("cut by the test")


def client(address: str) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=address,
        aws_access_key_id=KEY,
        aws_secret_access_key=SECRET,
        region_name="us-east-1",
    )


@contextmanager
def serving() -> Iterator[S3]:
    """Run a server in the block."""
    server = make_server("127.0.0.1", 0, application := S3(), threaded=True)
    application.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield application
    finally:
        server.shutdown()
        server.server_close()


def environment(address: str, folder: Path) -> dict[str, str]:
    """The variables by which the packages of AWS find the server and the keys, and nothing else.

    Args:
        folder: empty, in place of the user's own `~/.aws`.
    """
    return {
        "AWS_ENDPOINT_URL": address,
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": str(folder / "config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(folder / "credentials"),
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_MAX_ATTEMPTS": "1",
    }


def use(patch: pytest.MonkeyPatch, address: str, folder: Path) -> None:
    """Let this process find the server, and forget an earlier one."""
    s3fs.S3FileSystem.clear_instance_cache()
    for name, value in environment(address, folder).items():
        patch.setenv(name, value)
