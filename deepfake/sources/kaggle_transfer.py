"""Receive an archive: continue after what is there, and end where a server never would.

A record next to the file says of which archive its bytes are, so that two are never mixed.
"""

import contextlib
import json
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from deepfake.common.errors import PipelineError
from deepfake.common.files import read_json, write_text
from deepfake.sources.kaggle_retry import TooSlow, file_size, say

# Seconds without a byte after which a connection counts as lost.
PATIENCE = 60
# Bytes a second, over PATIENCE seconds, below which a connection is given up as well.
LEAST_RATE = 10_000
# Seconds that a download may take in one run, with all its attempts.
DEADLINE = 24 * 3600
# Bytes asked for at a time; what has arrived by then is written.
CHUNK = 1 << 18
SECONDS_BETWEEN_LINES = 10


def receive(response: Any, path: Path, deadline: float) -> None:
    """Write an archive to `path`, after the bytes that are there if they are of the same archive.

    Args:
        response: the answer (of `requests`) to a request for the whole archive, not read yet.
        deadline: when to give up, by `time.monotonic`.

    Raises:
        PipelineError: there is too little room, or the deadline has passed.
        Exception: of `requests` or `urllib3`: the connection was cut, stalled or too slow.
        ValueError: the archive is not as long as announced.
    """
    size = int(response.headers.get("Content-Length") or 0)
    # What says that two answers are of the same bytes; without it nothing can be continued.
    mark = response.headers.get("ETag") or response.headers.get("Last-Modified")
    record = Path(f"{path}.kaggle-partial")
    present = file_size(path) if mark and _recorded(record) == (mark, size) else 0
    if present and present == size:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    _require_space(path, size - present)
    rest = _rest(response, mark, present, size) if present else None
    if rest is None:
        path.unlink(missing_ok=True)
        write_text(record, json.dumps({"validator": mark, "size": size}))
    with _progress_lines(path, size), open(path, "ab", buffering=0) as file:
        _write(rest or response, file, deadline)
    if size and file_size(path) != size:
        raise ValueError(f"{file_size(path)} bytes instead of {size}")


def _recorded(record: Path) -> tuple[Any, Any] | None:
    """What `receive` recorded of the bytes that are there; None if nothing can be read."""
    try:
        known = read_json(record)
        return known["validator"], known["size"]
    except (OSError, PipelineError, TypeError, KeyError):
        return None


def _rest(response: Any, mark: str, present: int, size: int) -> Any:
    """Ask for an archive from byte `present` on; None if the answer is not just that."""
    import requests

    ranged = {"Range": f"bytes={present}-", "If-Range": mark}
    rest = requests.get(
        response.url, headers={**response.request.headers, **ranged}, stream=True, timeout=PATIENCE
    )
    sent = rest.headers.get("Content-Range", "")
    same = rest.headers.get("ETag", mark) in (mark, response.headers.get("ETag"))
    if rest.status_code == 206 and same and sent.startswith(f"bytes {present}-"):
        response.close()
        return rest
    rest.close()
    if rest.status_code == 429 or rest.status_code >= 500:
        rest.raise_for_status()
    return None


def _write(response: Any, file: BinaryIO, deadline: float) -> None:
    """Write what arrives, while it arrives fast enough."""
    since, arrived = time.monotonic(), 0
    # Unlike `read`, this does not wait until there are CHUNK bytes.
    while data := response.raw.read1(CHUNK):
        file.write(data)
        arrived += len(data)
        now = time.monotonic()
        if now > deadline:
            raise PipelineError(
                f"the download was stopped after {DEADLINE / 3600:g} hours. The {file.tell()} "
                "bytes received so far are kept; the next run continues there."
            )
        if now - since >= PATIENCE:
            if arrived < LEAST_RATE * (now - since):
                raise TooSlow(LEAST_RATE)
            since, arrived = now, 0


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


def _require_space(path: Path, needed: int) -> None:
    free = shutil.disk_usage(path.parent).free
    if needed > free:
        raise PipelineError(
            f"the archive needs {needed / 1e6:.0f} MB more in {path.parent}, where "
            f"{free / 1e6:.0f} MB are free: make room, or let cache/kaggle be a link to another "
            "disk"
        )
