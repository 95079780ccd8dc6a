"""What `make` does before the environment is there, with Pythons that only say their version."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAKE = shutil.which("make")
SUPPORTED = "This project runs on Python 3.11, 3.12 and 3.13."
# What `make test` gives its commands.
OF_OUTER_MAKE = ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "PYTHON")
# Says its version; `-m venv --clear FOLDER` makes an empty environment; the rest only succeeds.
FAKE = """#!/bin/sh
case "$1 $2" in
-c*) echo {version} ;;
"-m venv") rm -rf "$4" && mkdir -p "$4/bin" && cp "$0" "$4/bin/python" ;;
esac
"""


class Project:
    """A folder with the Makefile and what `make install` reads; PATH has nothing but tools."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.bin = path / "bin"
        (path / "tools").mkdir()
        self.bin.mkdir()
        shutil.copy(ROOT / "Makefile", path)
        shutil.copy(ROOT / "tools/find_python.sh", path / "tools")
        for name in ("requirements.txt", "requirements-gpu.txt", "requirements-dev.txt"):
            (path / name).touch()
        for name in ("cp", "mkdir", "rm", "touch"):
            (self.bin / name).symlink_to(str(shutil.which(name)))

    def python(self, name: str, version: str) -> Path:
        """Put a Python on PATH."""
        path = self.bin / name
        path.write_text(FAKE.format(version=version))
        path.chmod(0o755)
        return path

    def make(self, *arguments: str, fails: bool = False) -> str:
        """Run real `make`; returns what it printed."""
        clean = {k: v for k, v in os.environ.items() if k not in OF_OUTER_MAKE}
        done = subprocess.run(
            [str(MAKE), *arguments],
            cwd=self.path,
            env={**clean, "PATH": str(self.bin)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert (done.returncode != 0) == fails, done.stdout
        return done.stdout

    def built(self) -> list[str]:
        """The stamps in the environment."""
        return sorted(path.name for path in (self.path / ".venv").glob("installed*"))


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def test_a_named_python_that_is_too_old_is_refused_before_pip(project: Project) -> None:
    project.python("python3.10", "3.10")
    project.python("python3.12", "3.12")
    for target in ("install", "repro"):
        printed = project.make(target, "PYTHON=python3.10", fails=True)
        assert f"error: python3.10 is Python 3.10. {SUPPORTED}" in printed
        assert "make install PYTHON=/path/to/python3.12" in printed
        assert "\n.venv/bin/python -m pip" not in printed
        assert not (project.path / ".venv").exists()


def test_pythons_that_are_too_new_are_named(project: Project) -> None:
    project.python("python3", "3.14")
    project.python("python3.14", "3.14")
    printed = project.make("install", fails=True)
    found = "python3 (Python 3.14), python3.14 (Python 3.14)"
    assert f"error: no suitable Python was found, only: {found}. {SUPPORTED}" in printed


def test_a_missing_python_is_named(project: Project) -> None:
    assert "only: none at all" in project.make("install", fails=True)
    printed = project.make("install", "PYTHON=/opt/python3.12", fails=True)
    assert "/opt/python3.12 is not a Python that runs" in printed


def test_the_first_python_that_suits_builds_the_environment(project: Project) -> None:
    project.python("python3.11", "3.9")  # what pyenv leaves on PATH may be another one
    project.python("python3.13", "3.13")
    project.python("python3", "3.14")
    project.make("install")
    assert "echo 3.13" in (project.path / ".venv/bin/python").read_text()


def test_other_requirements_build_the_environment_from_nothing(project: Project) -> None:
    project.python("python3.12", "3.12")
    project.make("install")
    (project.path / ".venv/left over").touch()
    assert "pip install" in project.make("install", "REQUIREMENTS=requirements-gpu.txt")
    assert project.built() == ["installed-requirements-gpu.txt"]
    assert not (project.path / ".venv/left over").exists()
    # From here on these are the environment's, without being named again.
    assert "pip install" not in project.make("install")
    later = (project.path / ".venv/installed-requirements-gpu.txt").stat().st_mtime + 1
    os.utime(project.path / "requirements-gpu.txt", (later, later))
    assert "-r requirements-gpu.txt" in project.make("install")
    assert project.built() == ["installed-requirements-gpu.txt"]


@pytest.mark.parametrize(("target", "to"), [("inspect", "look at"), ("recipes", "run on")])
def test_without_data_it_says_what_is_missing(project: Project, target: str, to: str) -> None:
    printed = project.make(target, fails=True)
    example = f"make {target} DATA=faces.zip"
    assert printed.startswith(f"DATA is missing, the folder or zip to {to}: {example}\n")
    assert not (project.path / ".venv").exists()


def test_an_installation_for_a_gpu_that_broke_off_is_one_for_a_gpu_again(project: Project) -> None:
    python = project.python("python3.12", "3.12")
    python.write_text(python.read_text().replace("esac", "*pip*) exit 1 ;;\nesac"))
    project.make("install", "REQUIREMENTS=requirements-gpu.txt", fails=True)
    assert project.built() == []
    assert "-r requirements-gpu.txt" in project.make("install", fails=True)
