"""Listen at an address for the page and the service."""

import errno
import socket

from deepfake.common.errors import PipelineError


def listen(host: str, port: int, target: str) -> socket.socket:
    """A socket that listens at an address.

    Args:
        host: a name or an address of this machine.
        port: of it.
        target: of make, which the message names.

    Raises:
        PipelineError: it is taken, or no address of this machine.
    """
    try:
        return socket.create_server((host, port), backlog=256)
    except (OSError, OverflowError) as error:
        if getattr(error, "errno", None) == errno.EADDRINUSE:
            raise PipelineError(
                f"port {port} is taken by another program: choose another one, such as "
                f"--port {port + 1} (make {target} PORT={port + 1})"
            ) from None
        raise PipelineError(f"cannot listen at {host}, port {port}: {error}") from None
