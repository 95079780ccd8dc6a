"""A clone of this project with the pipeline shrunk, so that real `dvc` runs it in a minute."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import pytest
from dvc.utils.serialize import modify_yaml
from filelock import FileLock

ROOT = Path(__file__).parent.parent.parent
SHRUNK = {
    "data": {"sample": {"train_per_class": 24, "valid_per_class": 8, "test_per_class": 8}},
    "backbone": {"weights": "random", "alpha": 0.35, "image_size": 96},
    "embed": {"layers": ["block_3_project_BN", "block_6_project_BN"], "views": ["original"]},
    "export": {"images": 8},
    "train": {"epochs": 4},
}


class Clone:
    """A clone of the working tree as it is, with its own git history and DVC cache."""

    def __init__(self, path: Path) -> None:
        self.path = path
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            capture_output=True,
            check=True,
        ).stdout
        for name in filter(None, listed.decode().split("\0")):
            if (ROOT / name).is_file() and name not in ("dvc.lock", "report.md"):
                target = path / name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes((ROOT / name).read_bytes())
        for command in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-qm", "clone"]):
            self.run("git", *command)

    def copied(self, path: Path) -> "Clone":
        """A copy, files that git does not keep included."""
        shutil.copytree(self.path, path, symlinks=True)
        return Clone.opened(path)

    def cloned(self, path: Path) -> "Clone":
        """A clone by git, with the commits alone."""
        self.run("git", "clone", "-q", str(self.path), str(path))
        return Clone.opened(path)

    @classmethod
    def opened(cls, path: Path) -> "Clone":
        """The clone that is in a folder already."""
        found = cls.__new__(cls)
        found.path = path
        return found

    def run(self, *command: str, fails: bool = False, **environment: str) -> str:
        """Run a command in the clone; returns what it printed, standard error last."""
        # A file, not a pipe: workers of DVC's queue inherit it and live on.
        with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
            done = subprocess.run(
                command,
                cwd=self.path,
                env=self.environment(**environment),
                stdout=output,
                stderr=errors,
                stdin=subprocess.DEVNULL,
            )
            output.seek(0)
            errors.seek(0)
            printed = output.read() + errors.read()
        assert (done.returncode != 0) == fails, printed
        return printed

    def start(self, *command: str, **environment: str) -> subprocess.Popen:
        """Start a command in the clone and go on."""
        return subprocess.Popen(
            command,
            cwd=self.path,
            env=self.environment(**environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            stdin=subprocess.DEVNULL,
        )

    def children(self, process: subprocess.Popen, module: str) -> list[psutil.Process]:
        """The processes below `process` that run `module`."""
        return [
            child
            for child in psutil.Process(process.pid).children(recursive=True)
            if module in child.cmdline()
        ]

    def environment(self, **more: str) -> dict[str, str]:
        tools = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "GIT_AUTHOR_NAME": "Test",
            "GIT_AUTHOR_EMAIL": "test@example.org",
            "GIT_COMMITTER_NAME": "Test",
            "GIT_COMMITTER_EMAIL": "test@example.org",
        }
        for name in ("MLFLOW_TRACKING_URI", "KERAS_HOME", "DVC_ROOT", "DVC_STAGE"):
            tools.pop(name, None)
        return tools | more

    def refs(self) -> dict[str, str]:
        """The revision of each experiment that DVC keeps."""
        listed = self.run("git", "for-each-ref", "--format=%(refname) %(objectname)", "refs/exps")
        pairs = [line.split(" ") for line in listed.splitlines()]
        return {name.split("/", 4)[4]: revision for name, revision in pairs if name.count("/") == 4}

    def at(self, experiment: str, path: str) -> str:
        """The text of a file of an experiment, or of the `workspace`."""
        if experiment == "workspace":
            return (self.path / path).read_text()
        return self.run("git", "show", f"{self.refs()[experiment]}:{path}")

    def set(self, **sections: dict) -> None:
        """Change values of params.yaml, as DVC would; nested dicts are merged."""
        with modify_yaml(self.path / "params.yaml") as values:
            merge(values, sections)

    def stages_run(self, printed: str) -> list[str]:
        """The stages that a `dvc repro` or `dvc exp run` computed, in order: all but `check`."""
        lines = printed.splitlines()
        names = [line.split("'")[1] for line in lines if line.startswith("Running stage '")]
        return [name for name in names if name != "check"]


def merge(values: dict, changes: dict) -> None:
    for key, value in changes.items():
        if isinstance(value, dict):
            merge(values[key], value)
        else:
            values[key] = value


def shrunk(path: Path) -> Clone:
    clone = Clone(path)
    clone.set(**SHRUNK)
    clone.run("git", "commit", "-qam", "shrunk")
    return clone


@pytest.fixture(scope="module")
def fresh_clone(tmp_path_factory):
    """A clone that one test module has for itself."""
    return shrunk(tmp_path_factory.mktemp("clone"))


@pytest.fixture(scope="session")
def shared(tmp_path_factory, request) -> Path:
    """The folder that all workers of pytest-xdist share, with two clones after their first run:
    `first`, which `test_pipeline.py` has for itself, and `computed`; and `printed.txt`, what that
    run printed. The worker that asks first makes them, and others wait for it.

    With `--dist loadfile`, as in the Makefile, a test module runs in one worker.
    """
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if hasattr(request.config, "workerinput") else base) / "shared"
    folder.mkdir(exist_ok=True)
    with FileLock(folder / "lock"):
        if not (folder / "printed.txt").exists():
            printed = _first_run(folder / "first", folder / "computed")
            (folder / "printed.txt").write_text(printed)
    return folder


def _first_run(first: Path, computed: Path) -> str:
    """Make a clone, run and commit it, and copy it without the store; returns what was printed."""
    for path in (first, computed):  # what a worker that failed has left
        shutil.rmtree(path, ignore_errors=True)
    first.mkdir()
    clone = shrunk(first)
    printed = clone.run("dvc", "repro")
    clone.run("git", "add", "-A")
    clone.run("git", "commit", "-qm", "first run")
    clone.copied(computed)
    for name in ("mlartifacts", "cache"):
        shutil.rmtree(computed / name)
    (computed / "mlflow.db").unlink()
    return printed


@pytest.fixture(scope="session")
def computed(shared):
    """A clone with everything computed once, committed, and no store; to be copied."""
    return Clone.opened(shared / "computed")


@pytest.fixture(scope="module")
def computed_clone(computed, tmp_path_factory):
    """A clone with everything computed once and no store, that one test module has for itself."""
    return computed.copied(tmp_path_factory.mktemp("copy") / "clone")


@pytest.fixture(scope="session")
def imagenet_weights(tmp_path_factory):
    """Keras's cache, with a file that passes for ImageNet's weights of a shrunk clone."""
    import h5py
    from keras.src.legacy.saving.legacy_h5_format import save_weights_to_hdf5_group

    from deepfake.models import mobilenet_v2

    home, alpha = tmp_path_factory.mktemp("keras"), SHRUNK["backbone"]["alpha"]
    path = home / "models" / mobilenet_v2.imagenet_file(alpha).name
    path.parent.mkdir()
    with h5py.File(path, "w") as file:
        save_weights_to_hdf5_group(file, mobilenet_v2.mobilenet(alpha, None))
    return str(home)
