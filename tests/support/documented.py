"""The lines of a documented page that talk to a running service, run as they are printed."""

import subprocess
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent


def answers(page: str, printed: str, address: str, folder: Path) -> list[Any]:
    """What the lines with `curl` in a page get.

    Args:
        page: such as `docs/service.md`.
        printed: the address that the lines have; others are not run.
        address: of the running service.
        folder: with `face.jpg`, in which they are run.
    """
    lines = (ROOT / page).read_text(encoding="utf-8").splitlines()
    found = [line[2:] for line in lines if line.startswith("$ ") and "curl " in line]
    return [
        subprocess.run(
            ["bash", "-c", line.replace(printed, address)],
            cwd=folder,
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for line in found
        if printed in line
    ]
