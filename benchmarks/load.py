"""The service under load: `make load MODEL=data/detector SECONDS=60`.

Thirty-two clients send good and bad bodies for a while. No good image may get a 5xx, and the memory
of the service must not grow.
"""

import argparse
import asyncio
import base64
import itertools
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import httpx
import numpy as np
import psutil

from benchmarks.ports import free_port
from deepfake.common import paths
from deepfake.common.errors import PipelineError, command
from deepfake.sources.portraits.render import render

CLIENTS = 32
_SECONDS_TO_START = 120
GOOD, BAD, CUT = "good", "bad", "cut"


@command
def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load", description=__doc__)
    exported = paths.EXPORTED.as_posix()
    parser.add_argument("--model", default=exported, help="a folder, models:/… or runs:/…")
    parser.add_argument("--seconds", type=float, default=60.0)
    chosen = parser.parse_args()
    faces = [render(label=number % 2, seed=1, index=number, size=256) for number in range(8)]
    with _service(chosen.model) as (server, port):
        before = server.memory_info().rss
        answers, seconds, peaks = asyncio.run(_load(server, port, faces, chosen.seconds))
        after = server.memory_info().rss
    print(_told(answers, seconds, chosen.seconds))
    halves = np.array_split(np.array(peaks), 2)
    print(
        f"memory: {before / 1e6:.0f} MB before, at most {max(halves[0]) / 1e6:.0f} MB in the first "
        f"half and {max(halves[1]) / 1e6:.0f} MB in the second, {after / 1e6:.0f} MB after"
    )
    failed = sum(n for (kind, status), n in answers.items() if kind == GOOD and status != 200)
    if failed:
        raise PipelineError(f"{failed} good images did not get their score")


def _told(answers: Counter[tuple[str, int]], seconds: list[float], lasted: float) -> str:
    """How many answers there were of each kind, and how long the good ones took."""
    counts = ", ".join(f"{kind} {status}: {n}" for (kind, status), n in sorted(answers.items()))
    p50, p95, p99 = (1000 * np.quantile(seconds, share) for share in (0.5, 0.95, 0.99))
    return (
        f"{CLIENTS} clients, {lasted:g} s, {sum(answers.values()) / lasted:.0f} answers a second\n"
        f"{counts}\ngood images: p50 {p50:.0f} ms, p95 {p95:.0f} ms, p99 {p99:.0f} ms"
    )


@contextmanager
def _service(model: str) -> Iterator[tuple[psutil.Popen, int]]:
    """The service in the block, and its port."""
    port = free_port()
    arguments = ["-m", "deepfake.serving.serve", "--model", model, "--port", str(port)]
    server = psutil.Popen([sys.executable, *arguments])
    try:
        for _ in range(10 * _SECONDS_TO_START):
            with suppress(httpx.TransportError):
                httpx.get(f"http://127.0.0.1:{port}/health")
                break
            if server.poll() is not None:
                raise PipelineError("the service did not start")
            time.sleep(0.1)
        yield server, port
    finally:
        server.terminate()
        server.wait()


async def _load(
    server: psutil.Popen, port: int, faces: list[bytes], lasting: float
) -> tuple[Counter[tuple[str, int]], list[float], list[int]]:
    """Send bodies for some seconds.

    Args:
        faces: JPEG files.
        lasting: seconds.

    Returns:
        How many answers of each kind and status; how many seconds each good image took; the memory
        of the service, in bytes, ten times a second.
    """
    answers: Counter[tuple[str, int]] = Counter()
    seconds: list[float] = []
    memory: list[int] = []
    bodies = _bodies(faces)
    end = time.monotonic() + lasting

    async def client(http: httpx.AsyncClient) -> None:
        while time.monotonic() < end:
            kind, body = next(bodies)
            if kind == CUT:
                await _cut(port)
                answers[kind, 0] += 1
                continue
            start = time.monotonic()
            status = (await http.post(**body)).status_code
            answers[kind, status] += 1
            if kind == GOOD:
                seconds.append(time.monotonic() - start)

    async def watch() -> None:
        while time.monotonic() < end:
            memory.append(server.memory_info().rss)
            await asyncio.sleep(0.1)

    address = f"http://127.0.0.1:{port}"
    async with httpx.AsyncClient(base_url=address, timeout=60) as http:
        await asyncio.gather(watch(), *(client(http) for _ in range(CLIENTS)))
    return answers, seconds, memory


def _bodies(faces: list[bytes]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Good and bad bodies in turns, without end, as arguments of `post`."""
    one = {"files": [("files", ("face.jpg", faces[0]))]}
    several = {"files": [("files", ("face.jpg", face)) for face in faces]}
    text = [base64.b64encode(face).decode() for face in faces[:2]]
    bad: list[dict[str, Any]] = [
        {"url": "/predict", "files": {"files": ("face.jpg", b"some text")}},
        {"url": "/predict", "files": {"files": ("face.jpg", faces[0][: len(faces[0]) // 2])}},
        {"url": "/predict", "content": b"no form"},
        {"url": "/predict/base64", "content": b'{"images": ['},
        {"url": "/predict/base64", "content": bytes(25_000_000)},
    ]
    good: list[dict[str, Any]] = [
        {"url": "/predict", **one},
        {"url": "/predict/base64", "json": {"images": text}},
        {"url": "/predict", **several},
    ]
    for number, (first, second) in enumerate(zip(itertools.cycle(good), itertools.cycle(bad))):
        yield GOOD, first
        yield GOOD, good[0]
        yield BAD, second
        if number % 5 == 0:
            yield CUT, {}


async def _cut(port: int) -> None:
    """Begin an upload of 2 MB and leave in its middle."""
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    head = "POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 2000000\r\n"
    writer.write(f"{head}Content-Type: multipart/form-data; boundary=x\r\n\r\n--x".encode())
    writer.write(bytes(1_000_000))
    with suppress(ConnectionError):
        await writer.drain()
    writer.close()


if __name__ == "__main__":
    main()
