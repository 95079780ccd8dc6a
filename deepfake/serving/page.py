"""Run the page until Ctrl+C: `make app`, or `python -m deepfake.serving.page`."""

import argparse
import errno
import logging
import socket
from pathlib import Path

from deepfake.common.errors import PipelineError, command

APP = Path(__file__).parent / "app.py"


@command
def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m deepfake.serving.page", description=__doc__)
    parser.add_argument("--model", default="data/detector", help="a folder, models:/… or runs:/…")
    parser.add_argument("--host", default="localhost", help="0.0.0.0: from other machines, too")
    parser.add_argument("--port", type=int, default=8501)
    chosen = parser.parse_args()
    _require_free(chosen.host, chosen.port)
    try:
        from streamlit.web import cli
    except ImportError as error:
        raise PipelineError(
            f"the page needs {error.name}: pip install '.[app]' in the project's folder"
        ) from None
    logging.getLogger("uvicorn.error").addFilter(_is_fault)
    # All other settings are in .streamlit/config.toml beside the app.
    address = ["--server.address", chosen.host, "--server.port", str(chosen.port)]
    cli.main(["run", str(APP), *address, "--", "--model", chosen.model], prog_name="streamlit")


def _require_free(host: str, port: int) -> None:
    """Raise a `PipelineError` if nothing can listen at the address."""
    try:
        socket.create_server((host, port)).close()
    except (OSError, OverflowError) as error:
        if getattr(error, "errno", None) == errno.EADDRINUSE:
            raise PipelineError(
                f"port {port} is taken by another program: choose another one, such as "
                f"--port {port + 1} (make app PORT={port + 1})"
            ) from None
        raise PipelineError(f"cannot listen at {host}, port {port}: {error}") from None


def _is_fault(record: logging.LogRecord) -> bool:
    """Whether a line of the server's log tells of more than a user who broke an upload off."""
    raised = record.exc_info[0] if record.exc_info else None
    return raised is None or raised.__name__ != "ClientDisconnect"


if __name__ == "__main__":
    main()
