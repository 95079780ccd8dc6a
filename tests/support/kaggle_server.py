"""A local Kaggle: as much of its API as the real client uses to download a data set.

The client sends POST requests with JSON bodies; a download is answered by a redirect to a signed
address, where the file is served with ETag, Last-Modified and byte ranges. `KaggleServer.faults`
makes requests fail, one fault a request, in order.
"""

import hashlib
import json
import sys
import threading
import time
from base64 import b64encode
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import urlparse

# Joined here, so that a search for them does not find this file.
TOKEN = "-".join(["KGAT_marked", "token", "0123456789"])
USER, LEGACY_KEY = "tester", "-".join(["marked", "legacy", "key", "1122334455"])
BASIC = b64encode(f"{USER}:{LEGACY_KEY}".encode()).decode()
SIGNATURE = "-".join(["marked", "signature", "9876543210"])
MODIFIED = "Wed, 01 Jan 2025 00:00:00 GMT"

# Variables of the environment that would lead the client elsewhere.
VARIABLES = (
    "KAGGLE_USERNAME", "KAGGLE_KEY", "KAGGLE_API_TOKEN", "KAGGLE_CONFIG_DIR",
    "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY",
)  # fmt: skip

INTROSPECT = "/v1/security.OAuthService/IntrospectToken"
GET_DATASET = "/v1/datasets.DatasetApiService/GetDataset"
DOWNLOAD = "/v1/datasets.DatasetApiService/DownloadDataset"
FILES = "/files/"
# Bytes sent at a time.
PIECE = 4096


@dataclass
class Fault:
    """What goes wrong with one request.

    Attributes:
        where: start of the path of the requests that it applies to.
        status: answer with this status instead: with `message`, or with `body` if there is one.
        cut_after: close the connection after so many bytes of the body.
        stall_after: send so many bytes, then nothing for `seconds`.
        body, content_type: serve this instead of the archive.
        length: announce this Content-Length.
        modified: send this as Last-Modified.
        etag: send this as ETag.
        from_start: answer a request for a range with the bytes from the start, as if they were it.
        pace: seconds between two bytes.
    """

    where: str
    status: int | None = None
    message: str = "refused by the test"
    retry_after: int | None = None
    cut_after: int | None = None
    stall_after: int | None = None
    seconds: float = 5.0
    body: bytes | None = None
    content_type: str = "application/zip"
    length: int | None = None
    modified: str = MODIFIED
    etag: str | None = None
    from_start: bool = False
    pace: float | None = None


@dataclass
class Request:
    """A request that was received."""

    path: str
    body: dict[str, Any]
    headers: dict[str, str]


@dataclass
class KaggleServer:
    """Serves `archives`: the newest version of a data set is the highest number.

    Attributes:
        archives: bytes by (owner, slug, version).
        faults: what goes wrong.
        requests: what was received.
        pace: bytes of an archive served per second; None: no limit.
        sent: bytes of archives sent so far.
    """

    archives: dict[tuple[str, str, int], bytes] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    pace: float | None = None
    sent: int = 0

    def __enter__(self) -> Self:
        self._http = _Server(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop; later connections are refused."""
        if self._thread.is_alive():
            self._http.shutdown()
            self._http.server_close()
            self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    def paths(self, start: str) -> list[Request]:
        """The requests whose path starts so."""
        return [request for request in self.requests if request.path.startswith(start)]

    def fault(self, path: str) -> Fault | None:
        for fault in self.faults:
            if path.startswith(fault.where):
                self.faults.remove(fault)
                return fault
        return None


# Nothing that a run writes or shows may contain these.
SECRETS = (TOKEN, LEGACY_KEY, BASIC, SIGNATURE)


def point_at(url: str) -> None:
    """Make the Kaggle client of this process talk to a server at `url` instead of Kaggle."""
    from kagglesdk import kaggle_env

    kaggle_env._env_to_endpoint[kaggle_env.KaggleEnv.PROD] = url


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up are part of the tests; anything else is shown."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


def _handler(server: KaggleServer) -> type[BaseHTTPRequestHandler]:
    class Handler(_Handler):
        kaggle = server

    return Handler


class _Handler(BaseHTTPRequestHandler):
    kaggle: KaggleServer
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length) or b"{}")
        self.kaggle.requests.append(Request(self.path, body, dict(self.headers)))
        fault = self.kaggle.fault(self.path)
        if fault and fault.status:
            self._refuse(fault)
        elif self.path == INTROSPECT:
            accepted = body.get("token") == TOKEN
            self._json(200, {"active": accepted, "username": USER if accepted else ""})
        elif self.headers.get("Authorization") not in (f"Bearer {TOKEN}", f"Basic {BASIC}"):
            self._json(401, {"code": 401, "message": "Unauthenticated"})
        elif self.path == GET_DATASET:
            versions = self._versions(body)
            if versions:
                self._json(200, {"currentVersionNumber": max(versions)})
            else:
                self._json(404, {"code": 404, "message": "Not found"})
        elif self.path == DOWNLOAD:
            self._redirect(body)
        else:
            self._json(404, {"code": 404, "message": f"Unknown method {self.path}"})

    def do_GET(self) -> None:
        self.kaggle.requests.append(Request(self.path, {}, dict(self.headers)))
        address = urlparse(self.path)
        fault = self.kaggle.fault(self.path)
        if fault and fault.status:
            self._refuse(fault)
        elif SIGNATURE not in address.query:
            self._json(403, {"code": 403, "message": "Signature does not match"})
        else:
            owner, slug, version = address.path.removeprefix(FILES).split("/")
            self._file(self.kaggle.archives[owner, slug, int(version)], fault or Fault(FILES))

    def _versions(self, body: dict[str, Any]) -> list[int]:
        wanted = (body.get("ownerSlug"), body.get("datasetSlug"))
        return [key[2] for key in self.kaggle.archives if key[:2] == wanted]

    def _redirect(self, body: dict[str, Any]) -> None:
        versions = self._versions(body)
        version = body.get("datasetVersionNumber") or max(versions, default=0)
        if version not in versions:
            self._json(404, {"code": 404, "message": "Not found"})
            return
        path = f"{FILES}{body['ownerSlug']}/{body['datasetSlug']}/{version}"
        self.send_response(302)
        self.send_header("Location", f"{self.kaggle.url}{path}?X-Goog-Signature={SIGNATURE}")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _file(self, archive: bytes, fault: Fault) -> None:
        body = fault.body if fault.body is not None else archive
        etag = fault.etag or f'"{hashlib.md5(body).hexdigest()}"'
        start = asked = self._range_start(etag)
        if fault.from_start:
            start = 0
        self.send_response(206 if asked else 200)
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        self.send_header("Content-Type", fault.content_type)
        self.send_header("Content-Length", str(fault.length or len(body) - start))
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", etag)
        self.send_header("Last-Modified", fault.modified)
        self.end_headers()
        self._send(body[start:], fault)

    def _range_start(self, etag: str) -> int:
        asked = self.headers.get("Range", "")
        if not asked.startswith("bytes=") or self.headers.get("If-Range", etag) != etag:
            return 0
        return int(asked.removeprefix("bytes=").split("-")[0])

    def _send(self, body: bytes, fault: Fault) -> None:
        stop = fault.cut_after if fault.cut_after is not None else fault.stall_after
        try:
            piece = PIECE if fault.pace is None else 1
            for start in range(0, len(body[:stop]), piece):
                self.wfile.write(body[start : min(start + piece, stop or len(body))])
                self.kaggle.sent += piece
                if fault.pace:
                    time.sleep(fault.pace)
                if self.kaggle.pace:
                    time.sleep(PIECE / self.kaggle.pace)
            self.wfile.flush()
            if fault.stall_after is not None:
                time.sleep(fault.seconds)
        except OSError:
            pass  # the client has gone, as it does before it asks for a range
        if stop is not None or fault.length is not None:
            self.close_connection = True

    def _refuse(self, fault: Fault) -> None:
        assert fault.status is not None
        if fault.body is not None:
            self._answer(fault.status, fault.body, {"Content-Type": fault.content_type})
            return
        extra = {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
        self._json(fault.status, {"code": fault.status, "message": fault.message}, extra)

    def _json(self, status: int, value: Any, headers: dict[str, str] | None = None) -> None:
        content_type = {"Content-Type": "application/json"}
        self._answer(status, json.dumps(value).encode(), content_type | (headers or {}))

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for name, text in headers.items():
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(body)
