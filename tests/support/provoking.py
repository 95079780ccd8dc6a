"""How the faults of tracking are provoked: of git, the store, servers and the outbox."""

import contextlib
import io
import json
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from deepfake.common.errors import PipelineError
from deepfake.serving import answers
from deepfake.tracking import waiting
from deepfake.tracking.failures import required
from deepfake.tracking.outbox import tidy
from deepfake.tracking.store import find
from tests.support import tracking_server
from tests.support.tracking import BEST_EFFORT, NOBODY, outbox, recorded, trained

Provocation = Callable[[Path, pytest.MonkeyPatch], str]
SECRET = "swordfish marmalade"  # no message may have a part of it
_GENEROUS = 60  # seconds for what takes 2 on an idle machine


def printed(call: Callable[[], object]) -> str:
    """What a call prints, and the `PipelineError` that it ends with, if it does."""
    with contextlib.redirect_stderr(io.StringIO()) as text, contextlib.redirect_stdout(text):
        try:
            call()
        except PipelineError as error:
            print(error)
    return text.getvalue()


def _stage(deadline: int = BEST_EFFORT.deadline_seconds) -> str:
    settings = BEST_EFFORT.model_copy(update={"deadline_seconds": deadline})
    return printed(lambda: trained("aa", settings))


# --- Git


def _committed() -> None:
    for command in ("init -q", "add -A", "-c user.name=a -c user.email=a@b commit -qm first"):
        subprocess.run(["git", *command.split()], check=True)


def _logged(root: Path) -> dict[str, str]:
    """The text of the files about lineage in the newest run."""
    folder = root / "mlartifacts" / recorded(root)[-1].info.run_id / "artifacts" / "lineage"
    return {path.name: path.read_text() for path in folder.iterdir()}


def new_files(*announce: str) -> Provocation:
    def provoke(root: Path, patch: pytest.MonkeyPatch) -> str:
        Path("code.py").write_text("first\n")
        _committed()
        names = ["creds.yaml", "secrets.toml", "token.txt"]
        for name in names:
            Path(name).write_text(SECRET)
            subprocess.run(["git", *announce, name], check=bool(announce), capture_output=True)
        Path("code.py").write_text("second\n")
        said = _stage()
        logged = _logged(root)
        assert json.loads(logged["environment.json"])["untracked_files"] == names
        assert "+second" in logged["changes.patch"]
        assert SECRET not in str(logged)
        return said

    return provoke


def large_change(root: Path, patch: pytest.MonkeyPatch) -> str:
    Path("table.csv").write_text("first\n")
    _committed()
    Path("table.csv").write_text("row\n" * 2_000_000)
    said = _stage()
    assert len(_logged(root)["changes.patch"]) < 1_000_100
    return said


def git_that_refuses(root: Path, patch: pytest.MonkeyPatch) -> str:
    Path("code.py").write_text("first\n")
    _committed()
    patch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    return _unknown(root, "dubious ownership")


def no_git(root: Path, patch: pytest.MonkeyPatch) -> str:
    patch.setenv("PATH", os.devnull)
    return _unknown(root, "git cannot be run")


def _unknown(root: Path, why: str) -> str:
    said = _stage()
    tags = recorded(root)[0].data.tags
    assert (tags["git_revision"], tags["git_dirty"]) == ("unknown", "unknown")
    assert why in json.loads(_logged(root)["environment.json"])["git"]
    return said


# --- The store


def quoted_experiment(root: Path, patch: pytest.MonkeyPatch) -> str:
    said = ""
    for name in ("it's", 'the "best"', """it's "best\""""):
        patch.setenv("DVC_EXP_NAME", name)
        said += _stage()
        assert [run.tags["experiment"] for run in find(BEST_EFFORT, experiment=name)] == [name]
    return said


def directory_as_database(root: Path, patch: pytest.MonkeyPatch) -> str:
    (root / "mlflow.db").unlink()
    (root / "mlflow.db").mkdir()
    return _kept_soon(root)


def _kept_soon(root: Path, deadline: int = BEST_EFFORT.deadline_seconds) -> str:
    start = time.monotonic()
    said = _stage(deadline)
    assert time.monotonic() - start < _GENEROUS
    assert len(outbox(root)) == 1
    return said


def strange_path(root: Path, patch: pytest.MonkeyPatch) -> str:
    strange = root / "what?" / "a#b%41c"
    strange.mkdir(parents=True)
    shutil.move(root / "mlflow.db", strange)
    patch.setenv("DVC_ROOT", str(strange))
    said = _stage()
    (run,) = find(BEST_EFFORT, stage="train")
    assert (strange / "mlartifacts" / run.run_id / "artifacts" / "lineage").is_dir()
    assert [path.name for path in (*root.iterdir(), *strange.parent.iterdir())] == [
        "what?", "a#b%41c",
    ]  # fmt: skip
    return said


def held_lock(root: Path, patch: pytest.MonkeyPatch) -> str:
    """As another process would do it, which has a file descriptor of its own."""
    patch.setattr(waiting, "_SILENT", 0.5)
    held, over = threading.Event(), threading.Event()

    def hold() -> None:
        with waiting.locked(root / "cache" / "mlflow.lock"):
            held.set()
            over.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    try:
        return _kept_soon(root, 1)
    finally:
        over.set()
        thread.join()


# --- Servers


def served(answer: tracking_server.Answer, deadline: int = 2) -> Provocation:
    def provoke(root: Path, patch: pytest.MonkeyPatch) -> str:
        patch.setattr(answers, "_MOST_BYTES", 5_000_000)
        with tracking_server.serving(answer) as address:
            patch.setenv("MLFLOW_TRACKING_URI", address)
            said = _kept_soon(root, deadline)
        assert not Path("elsewhere").exists()
        return said

    return provoke


def synced(answer: tracking_server.Answer) -> Provocation:
    def provoke(root: Path, patch: pytest.MonkeyPatch) -> str:
        with tracking_server.serving(answer) as address:
            patch.setenv("MLFLOW_TRACKING_URI", address)
            return printed(_sync)

    return provoke


def _sync() -> None:
    with required():
        tidy(BEST_EFFORT)


def secret_in(address: str) -> Provocation:
    def provoke(root: Path, patch: pytest.MonkeyPatch) -> str:
        patch.setenv("MLFLOW_TRACKING_URI", address)
        patch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        return _stage() + printed(_sync)

    return provoke


# --- The outbox


def kept(damage: Callable[[Path], object], delivered: int = 2) -> Provocation:
    """Keep two runs, damage the first one, and deliver both."""

    def provoke(root: Path, patch: pytest.MonkeyPatch) -> str:
        with patch.context() as away:
            away.setenv("MLFLOW_TRACKING_URI", NOBODY)
            for name in ("aa", "bb"):
                trained(name, BEST_EFFORT)
        first = outbox(root)[0]
        damage(first)
        said = printed(lambda: tidy(BEST_EFFORT))
        assert outbox(root) == []
        assert len([run for run in recorded(root) if run.info.status == "FINISHED"]) == delivered
        aside = root / "cache" / "outbox" / "undeliverable" / first.name
        assert aside.exists() == (delivered == 1)
        assert printed(lambda: tidy(BEST_EFFORT)) == ""
        return said

    return provoke


def foreign_files(first: Path) -> None:
    (first.parent / ".nfs0001").write_text("of the network's file system")
    (first.parent / ".nfs0002").mkdir()
    (first / ".nfs0003").write_text("likewise")


def with_operation(**operation: object) -> Callable[[Path], object]:
    def change(first: Path) -> None:
        file = first / "record.json"
        record = json.loads(file.read_text())
        file.write_text(json.dumps({**record, "operations": [operation]}))

    return change


def file_outside(first: Path) -> None:
    (first.parents[2] / "hostname").write_text(SECRET)
    with_operation(do="files", path="../../../hostname", folder=None)(first)


def link_outside(first: Path) -> None:
    (first.parents[2] / "hostname").write_text(SECRET)
    (first / "0").symlink_to(first.parents[2])
    with_operation(do="files", path="0/hostname", folder=None)(first)
