"""A PostgreSQL server on this machine, from the distribution's package, with one database."""

import os
import shutil
import subprocess
from pathlib import Path
from tempfile import mkdtemp

from benchmarks.ports import free_port

USER = "mlflow"
PASSWORD = "a-password-of-the-tests"
_SECONDS = "60"


def programs() -> Path | None:
    """The folder of PostgreSQL's programs; None if it is not installed."""
    found = shutil.which("initdb")
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return Path(found).parent if found else (installed[-1].parent if installed else None)


class Postgres:
    """A server with the database `mlflow`, to be started, killed and started again.

    Its files are in a temporary folder of its own, since pytest's temporary folders are closed to
    other users, and PostgreSQL refuses to run as root.

    Attributes:
        address: of the database, with a password.
    """

    def __init__(self) -> None:
        self._programs = programs()
        self._folder = folder = Path(mkdtemp(prefix="postgres-"))
        self._data = folder / "data"
        (folder / "password").write_text(PASSWORD)
        if os.geteuid() == 0:
            shutil.chown(folder, "postgres")
            shutil.chown(folder / "password", "postgres")
        self._port = free_port()
        self.address = f"postgresql://{USER}:{PASSWORD}@127.0.0.1:{self._port}/{USER}"
        self._call("initdb", "--username", USER, "--pwfile", str(folder / "password"),
                   "--auth", "scram-sha-256", "--no-sync", str(self._data))  # fmt: skip
        self.start()
        environment = {**os.environ, "PGPASSWORD": PASSWORD}
        subprocess.run(
            ["createdb", "-h", "127.0.0.1", "-p", str(self._port), "-U", USER, USER],
            check=True, env=environment,
        )  # fmt: skip

    def start(self) -> None:
        options = f"-p {self._port} -h 127.0.0.1 -k ''"
        log = str(self._data / "log.txt")
        self._call("pg_ctl", "-D", str(self._data), "-o", options, "-l", log,
                   "-w", "-t", _SECONDS, "start")  # fmt: skip

    def kill(self) -> None:
        """Stop it without a shutdown, as a power cut would; it may be down already."""
        self._call("pg_ctl", "-D", str(self._data), "-m", "immediate", "-w", "stop", check=False)

    def remove(self) -> None:
        """Kill it, and delete its files."""
        self.kill()
        shutil.rmtree(self._folder)

    def _call(self, program: str, *arguments: str, check: bool = True) -> None:
        as_other = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        # Not into a pipe: the server keeps what it inherits open, and a pipe would never end.
        with open(self._folder / "programs.log", "a+") as log:
            ended = subprocess.run(
                [*as_other, f"{self._programs}/{program}", *arguments],
                stdout=log, stderr=log, cwd="/",
            )  # fmt: skip
            log.seek(0)
            assert not check or ended.returncode == 0, f"{program}: {log.read()}"
