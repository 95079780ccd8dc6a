"""A connection to the service, which does not wait for ever for a request."""

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_SECONDS = 15.0


class Connection(H11Protocol):
    """uvicorn's connection, closed if the head of a request does not arrive in time.

    uvicorn itself waits for ever for the first request, and for the rest of a head that has begun;
    such connections would keep others out.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._look_again(answered=self)

    def _look_again(self, answered: object) -> None:
        """Close the connection if it still waits for the same head as at the last look.

        Args:
            answered: the request before the head that it waited for at the last look; the
                connection itself if it waited for none.
        """
        waits = self.conn.their_state is h11.IDLE
        if waits and self.cycle is answered:
            self.transport.close()
        elif not self.transport.is_closing():
            self.loop.call_later(HEAD_SECONDS, self._look_again, self.cycle if waits else self)
