"""A project in which a stand-in for DVC runs experiments at once."""

import json
from pathlib import Path

import pytest

from deepfake import params
from tests.conftest import ROOT
from tools import clones, experiments, shell, sync


def written(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.fixture
def sweeping(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A git repository with `params.yaml`, in which a stand-in for DVC runs experiments.

    An experiment's metric tells its parameters: `baseline.valid.log_loss` is `baseline.C`. One with
    a `baseline.max_iter` of 1 fails. What is queued is written to the file `queued`, a line each.
    """
    monkeypatch.chdir(tmp_path)
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "Test")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "test@example.org")
    written(tmp_path / "params.yaml", (ROOT / "params.yaml").read_text())
    written(tmp_path / ".gitignore", "queued\nsweep.yaml\ncache")
    written(tmp_path / "queued", "")
    shell.git("init", "-q", "-b", "main")
    shell.git("add", "-A")
    shell.git("commit", "-qm", "start")

    def run_experiment(name: str, changes: list[str]) -> None:
        clones.change(tmp_path / "params.yaml", changes)
        settings = params.load(tmp_path / "params.yaml")
        if settings.baseline.max_iter == 1:
            shell.git("reset", "-q", "--hard")
            return
        metrics = {"valid": {"log_loss": settings.baseline.C}}
        written(tmp_path / "metrics/baseline.json", json.dumps(metrics))
        written(tmp_path / "metrics/image.json", '{"test": {"roc_auc": 0.9, "accuracy": 0.8}}')
        shell.git("add", "-A")
        head = shell.git("rev-parse", "HEAD").strip()
        revision = shell.git("commit-tree", shell.git("write-tree").strip(), "-p", head, "-m", name)
        shell.git("update-ref", f"refs/exps/{head[:2]}/{head[2:]}/{name}", revision.strip())
        shell.git("reset", "-q", "--hard")

    def dvc(*arguments: str) -> str:
        if arguments[:2] == ("queue", "status"):
            names = (tmp_path / "queued").read_text().split()
            done = {name for name, _ in sync.experiments()}
            return "\n".join(
                f"0 {name} {'Success' if name in done else 'Failed'}" for name in names
            )
        if arguments[:2] == ("queue", "remove"):
            names = (tmp_path / "queued").read_text().split()
            written(tmp_path / "queued", "".join(f"{n}\n" for n in names if n != arguments[2]))
        if arguments[:2] == ("exp", "run"):
            run_experiment(arguments[4], [item.removeprefix("-S") for item in arguments[5:]])
            with open(tmp_path / "queued", "a") as file:
                file.write(f"{arguments[4]}\n")
        return ""

    monkeypatch.setattr(experiments, "dvc", dvc)
    monkeypatch.setattr(sync, "bring_up_to_date", lambda settings: None)
    monkeypatch.setattr("sys.argv", ["sweep", "sweep.yaml"])
    return tmp_path
