"""Run the service until Ctrl+C: `make serve`, or `python -m deepfake.serving.serve`."""

import argparse
import errno
import logging
import socket
from contextlib import suppress

from deepfake.common.errors import PipelineError, command


@command
def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m deepfake.serving.serve", description=__doc__)
    parser.add_argument("--model", default="data/detector", help="a folder, models:/… or runs:/…")
    parser.add_argument("--host", default="127.0.0.1", help="0.0.0.0: from other machines, too")
    parser.add_argument("--port", type=int, default=8000)
    chosen = parser.parse_args()
    with suppress(KeyboardInterrupt), _listening(chosen.host, chosen.port) as listener:
        _serve(chosen.model, listener)


def _listening(host: str, port: int) -> socket.socket:
    """A socket that listens at the address.

    Raises:
        PipelineError: it is taken, or no address of this machine.
    """
    try:
        return socket.create_server((host, port), backlog=256)
    except (OSError, OverflowError) as error:
        if getattr(error, "errno", None) == errno.EADDRINUSE:
            raise PipelineError(
                f"port {port} is taken by another program: choose another one, such as "
                f"--port {port + 1} (make serve PORT={port + 1})"
            ) from None
        raise PipelineError(f"cannot listen at {host}, port {port}: {error}") from None


def _serve(source: str, listener: socket.socket) -> None:
    try:
        import uvicorn

        from deepfake.serving.service import create
    except ImportError as error:
        raise PipelineError(f"the service needs {error.name}: pip install '.[service]'") from None
    from deepfake.serving.detector import Detector

    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # it tells of every bad body
    detector = Detector.load(source)
    host, port = listener.getsockname()[:2]
    print(f"The detector answers at http://{host}:{port}/docs\nCtrl+C ends it.", flush=True)
    config = uvicorn.Config(
        create(detector),
        http="h11",
        log_level="warning",
        server_header=False,
        limit_concurrency=256,  # connections, also those on which nothing is sent
        timeout_graceful_shutdown=5,
    )
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
