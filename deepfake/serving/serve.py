"""Run the service until Ctrl+C: `make serve`, or `python -m deepfake.serving.serve`."""

import argparse
import logging
import socket
from contextlib import suppress

from deepfake.common import paths
from deepfake.common.errors import PipelineError, command
from deepfake.serving.listening import listen


@command
def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m deepfake.serving.serve", description=__doc__)
    exported = paths.EXPORTED.as_posix()
    parser.add_argument("--model", default=exported, help="a folder, models:/… or runs:/…")
    parser.add_argument("--host", default="127.0.0.1", help="0.0.0.0: from other machines, too")
    parser.add_argument("--port", type=int, default=8000)
    chosen = parser.parse_args()
    with suppress(KeyboardInterrupt), listen(chosen.host, chosen.port, "serve") as listener:
        _serve(chosen.model, listener)


def _serve(source: str, listener: socket.socket) -> None:
    try:
        import uvicorn

        from deepfake.serving.connection import Connection
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
        http=Connection,
        log_level="warning",
        server_header=False,
        limit_concurrency=256,  # connections
        timeout_graceful_shutdown=5,
    )
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
