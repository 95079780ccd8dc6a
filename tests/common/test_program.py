"""A program whose standard streams are closed or full, or that is interrupted at any moment."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = """
from deepfake.common.program import end_when_interrupted
end_when_interrupted()
"""
TALKING = """
import sys, tempfile
from deepfake.common import progress
from deepfake.common.errors import command
@command
def main():
    with tempfile.TemporaryFile() as file:  # must not get the number of a closed stream
        for number in progress.shown(range(20_000), 20_000, "counting", "numbers"):
            print("line", number)
        sys.stdout.flush()
        print("done", file=sys.stderr)
        assert file.read() == b""
    open("done", "w").close()
main()
"""
INTERRUPTED = """
import atexit, os, signal, time
KILL = lambda: (os.kill(os.getpid(), signal.{signal}), time.sleep(60))
{during_import}
from deepfake.common.errors import command
@command
def main():
    {at_exit}
    try:
        {in_main}
        print("worked")
    finally:
        print("tidied up")
main()
"""


def program(folder: Path, code: str) -> list[str]:
    """The command that runs `code` as a module of a package, as `python -m stages.NAME` does."""
    (folder / "package").mkdir()
    (folder / "package" / "__init__.py").write_text(PACKAGE)
    (folder / "package" / "module.py").write_text(code)
    return [sys.executable, "-m", "package.module"]


def run(
    command: list[str] | str, folder: Path, *, shell: bool = False
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, shell=shell, cwd=folder, capture_output=True, text=True, check=False, timeout=300,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{folder}"},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("redirected", "stderr"),
    [
        (">&-", "done\n"),
        ("2>&- >out", ""),
        ("<&- >&- 2>&-", ""),
        ("| head -1", "done\n"),
        ("2>&1 | true", ""),
    ],
)
def test_it_works_where_nobody_listens(tmp_path: Path, redirected: str, stderr: str) -> None:
    command = " ".join(program(tmp_path, TALKING))
    done = run(["bash", "-c", f"set -o pipefail; {command} {redirected}"], tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr.endswith(stderr)
    assert "Error" not in done.stderr
    assert (tmp_path / "done").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux alone has /dev/full")
def test_output_that_does_not_fit_on_the_disk_is_an_error_in_one_line(tmp_path: Path) -> None:
    command = " ".join(program(tmp_path, TALKING))
    done = run(["bash", "-c", f"{command} >/dev/full"], tmp_path)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: cannot write a file: No space left on device")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM"])
@pytest.mark.parametrize(
    ("moment", "output"),
    [
        ("during_import", ""),
        ("in_main", "tidied up\n"),
        ("at_exit", "worked\ntidied up\n"),
    ],
)
def test_an_interrupt_is_one_line(tmp_path: Path, moment: str, output: str, number: str) -> None:
    kill = "atexit.register(KILL)" if moment == "at_exit" else "KILL()"
    pieces = {"during_import": "", "in_main": "pass", "at_exit": "pass", moment: kill}
    code = INTERRUPTED.format(signal=number, **pieces)
    done = run(program(tmp_path, code), tmp_path)
    assert (done.returncode, done.stderr) == (130, "interrupted\n")
    assert done.stdout == output


def test_an_interrupt_that_a_callback_would_lose_ends_the_program(tmp_path: Path) -> None:
    finaliser = "type('Closing', (), {'__del__': lambda self: KILL()})()"
    code = INTERRUPTED.format(signal="SIGINT", during_import="", at_exit="pass", in_main=finaliser)
    done = run(program(tmp_path, code), tmp_path)
    assert (done.returncode, done.stderr) == (130, "interrupted\n")


@pytest.mark.parametrize("name", ["stages.compare", "tools.show"])
def test_programs_are_so_from_their_first_import_on(tmp_path: Path, name: str) -> None:
    """A package that they import is replaced by one that interrupts."""
    for package in ("pandas", "numpy"):
        (tmp_path / f"{package}.py").write_text(
            "import os, signal, time\nos.kill(os.getpid(), signal.SIGTERM)\ntime.sleep(60)\n"
        )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", name], cwd=ROOT, env=environment, capture_output=True, text=True,
        check=False, timeout=300,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (130, "interrupted\n")


def test_what_the_one_who_starts_it_ignores_stays_ignored(
    python: Callable[..., tuple[list[str], dict[str, str]]],
) -> None:
    code = """
import os, signal
from deepfake.common.errors import command
signal.signal(signal.SIGINT, signal.SIG_IGN)
@command
def main():
    os.kill(os.getpid(), signal.SIGINT)
    print("worked")
main()
"""
    command, environment = python(code)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "worked\n")


def test_in_a_test_nothing_stays_changed(capsys: pytest.CaptureFixture[str]) -> None:
    from deepfake.common.errors import PipelineError, command

    before = signal.getsignal(signal.SIGTERM), sys.stdout, sys.unraisablehook

    @command
    def main() -> None:
        raise PipelineError("no")

    with pytest.raises(SystemExit):
        main()
    assert (signal.getsignal(signal.SIGTERM), sys.stdout, sys.unraisablehook) == before
    assert capsys.readouterr().err == "error: no\n"
