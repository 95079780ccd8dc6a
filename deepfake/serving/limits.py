"""What the service takes: how much, how fast, and how many requests at a time."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_RETRY = {"Retry-After": "1"}
_LINGER = 2.0  # seconds


@dataclass(frozen=True)
class Limits:
    """The limits of the service.

    Attributes:
        body_bytes: of one request.
        images: in one request.
        pixels: of all images of one request together, as their headers say.
        read_seconds: in which the body of a request has to arrive.
        wait_seconds: that a request waits for a processor.
        requests: that are being received or answered at a time.
        held_bytes: of the bodies of all these together.
    """

    body_bytes: int = 20_000_000
    images: int = 32
    pixels: int = 100_000_000
    read_seconds: float = 30.0
    wait_seconds: float = 30.0
    requests: int = 64
    held_bytes: int = 256_000_000


class Bounded:
    """An application whose requests with a body keep to the limits; others are refused while they
    arrive, so that memory stays bounded whatever is sent."""

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self._app = app
        self._limits = limits
        self._requests = 0
        self._held = 0  # bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD"):
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(receive, send, self._limits.read_seconds, self._count)
        refusal = self._refusal(Headers(scope=scope).get("content-length", ""))
        if refusal is not None:
            answer = JSONResponse({"detail": refusal.detail}, refusal.status_code, refusal.headers)
            await answer(scope, receive, exchange.send)
            return
        self._requests += 1
        try:
            await self._app(scope, exchange.receive, exchange.send)
        finally:
            self._requests -= 1
            self._held -= exchange.size

    def _refusal(self, length: str) -> HTTPException | None:
        """Why a request is refused by its header, if it is."""
        if length.isdigit() and int(length) > self._limits.body_bytes:
            return self._too_large()
        if self._requests >= self._limits.requests:
            return _busy(f"{self._requests} requests are being answered")
        return None

    def _count(self, received: int, size: int) -> None:
        """Count what arrived of a body.

        Args:
            received: bytes that arrived now.
            size: of the body so far, with these.

        Raises:
            HTTPException: this body, or all bodies together, are too large.
        """
        self._held += received
        if size > self._limits.body_bytes:
            raise self._too_large()
        if self._held > self._limits.held_bytes:
            raise _busy(f"requests of {self._held / 1e6:.0f} MB are being received")

    def _too_large(self) -> HTTPException:
        most = self._limits.body_bytes / 1e6
        return HTTPException(413, f"the body is larger than {most:g} MB: send less at a time")


class _Exchange:
    """One request, as its body arrives, and its answer."""

    def __init__(
        self, receive: Receive, send: Send, seconds: float, count: Callable[[int, int], None]
    ) -> None:
        self._receive, self._send = receive, send
        self._seconds = seconds
        self._due = asyncio.get_running_loop().time() + seconds
        self._count = count
        self._complete = False
        self.size = 0  # bytes of the body that arrived

    async def receive(self) -> Message:
        """The next part of the body; after it, whatever else the client does."""
        if self._complete:
            return await self._receive()
        try:
            async with asyncio.timeout_at(self._due):
                message = await self._next()
        except TimeoutError:
            raise HTTPException(
                408, f"the body did not arrive within {self._seconds:g} seconds"
            ) from None
        received = len(message.get("body", b""))
        self.size += received
        self._count(received, self.size)
        return message

    async def send(self, message: Message) -> None:
        """Send the answer, and close the connection if the body was not read to its end.

        The rest of the body is dropped for a moment before that: a client that is still sending
        when the connection closes never sees the answer.
        """
        if self._complete:
            await self._send(message)
        elif message["type"] == "http.response.start":
            await self._send(
                {**message, "headers": [*message["headers"], (b"connection", b"close")]}
            )
        else:
            await self._send({**message, "more_body": True})
            with suppress(TimeoutError):
                async with asyncio.timeout(_LINGER):
                    while not self._complete:
                        await self._next()
            self._complete = True
            await self._send({"type": "http.response.body", "body": b""})

    async def _next(self) -> Message:
        message = await self._receive()
        self._complete = not message.get("more_body", False)
        return message


def _busy(what: str) -> HTTPException:
    return HTTPException(503, f"{what}: try again in a second", _RETRY)
