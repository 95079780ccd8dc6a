"""Run the page until Ctrl+C: `make app`, or `python -m deepfake.serving.page`."""

import argparse
import logging
from pathlib import Path

from deepfake.common import paths
from deepfake.common.errors import PipelineError, command
from deepfake.serving.listening import listen

APP = Path(__file__).parent / "app.py"


@command
def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m deepfake.serving.page", description=__doc__)
    exported = paths.EXPORTED.as_posix()
    parser.add_argument("--model", default=exported, help="a folder, models:/… or runs:/…")
    parser.add_argument("--host", default="localhost", help="0.0.0.0: from other machines, too")
    parser.add_argument("--port", type=int, default=8501)
    chosen = parser.parse_args()
    listen(chosen.host, chosen.port, "app").close()
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


def _is_fault(record: logging.LogRecord) -> bool:
    """Whether a line of the server's log tells of more than a user who broke an upload off."""
    raised = record.exc_info[0] if record.exc_info else None
    return raised is None or raised.__name__ != "ClientDisconnect"


if __name__ == "__main__":
    main()
