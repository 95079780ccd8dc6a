"""What can go wrong with git, with MLflow's store and with what is kept for it."""

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
from deepfake.tracking import answers, waiting
from deepfake.tracking.failures import required
from deepfake.tracking.outbox import tidy
from deepfake.tracking.store import find
from tests.support import tracking_server
from tests.support.faults.cases import HANDLED, WARNING, Attack
from tests.support.tracking import BEST_EFFORT, NOBODY, outbox, recorded, trained

Provocation = Callable[[Path, pytest.MonkeyPatch], str]
SECRET = "open sesame"  # no message may have a part of it
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


def _new_files(*announce: str) -> Provocation:
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


def _large_change(root: Path, patch: pytest.MonkeyPatch) -> str:
    Path("table.csv").write_text("first\n")
    _committed()
    Path("table.csv").write_text("row\n" * 2_000_000)
    said = _stage()
    assert len(_logged(root)["changes.patch"]) < 1_000_100
    return said


def _git_that_refuses(root: Path, patch: pytest.MonkeyPatch) -> str:
    Path("code.py").write_text("first\n")
    _committed()
    patch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    return _unknown(root, "dubious ownership")


def _no_git(root: Path, patch: pytest.MonkeyPatch) -> str:
    patch.setenv("PATH", os.devnull)
    return _unknown(root, "git cannot be run")


def _unknown(root: Path, why: str) -> str:
    said = _stage()
    tags = recorded(root)[0].data.tags
    assert (tags["git_revision"], tags["git_dirty"]) == ("unknown", "unknown")
    assert why in json.loads(_logged(root)["environment.json"])["git"]
    return said


# --- The store


def _quoted_experiment(root: Path, patch: pytest.MonkeyPatch) -> str:
    said = ""
    for name in ("it's", 'the "best"', """it's "best\""""):
        patch.setenv("DVC_EXP_NAME", name)
        said += _stage()
        assert [run.tags["experiment"] for run in find(BEST_EFFORT, experiment=name)] == [name]
    return said


def _directory(root: Path, patch: pytest.MonkeyPatch) -> str:
    (root / "mlflow.db").unlink()
    (root / "mlflow.db").mkdir()
    return _kept_soon(root)


def _kept_soon(root: Path, deadline: int = BEST_EFFORT.deadline_seconds) -> str:
    start = time.monotonic()
    said = _stage(deadline)
    assert time.monotonic() - start < _GENEROUS
    assert len(outbox(root)) == 1
    return said


def _strange_path(root: Path, patch: pytest.MonkeyPatch) -> str:
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


def _locked(root: Path, patch: pytest.MonkeyPatch) -> str:
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


def _server(answer: tracking_server.Answer, deadline: int = 2) -> Provocation:
    def provoke(root: Path, patch: pytest.MonkeyPatch) -> str:
        patch.setattr(answers, "_MOST_BYTES", 5_000_000)
        with tracking_server.serving(answer) as address:
            patch.setenv("MLFLOW_TRACKING_URI", address)
            return _kept_soon(root, deadline)

    return provoke


def _secret(address: str) -> Provocation:
    def provoke(root: Path, patch: pytest.MonkeyPatch) -> str:
        patch.setenv("MLFLOW_TRACKING_URI", address)
        patch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")

        def sync() -> None:
            with required():
                tidy(BEST_EFFORT)

        return _stage() + printed(sync)

    return provoke


# --- The outbox


def _outbox(damage: Callable[[Path], object], delivered: int = 2) -> Provocation:
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


def _foreign(first: Path) -> None:
    (first.parent / ".nfs0001").write_text("of the network's file system")
    (first.parent / ".nfs0002").mkdir()
    (first / ".nfs0003").write_text("likewise")


def _with(**operation: object) -> Callable[[Path], object]:
    def change(first: Path) -> None:
        file = first / "record.json"
        record = json.loads(file.read_text())
        file.write_text(json.dumps({**record, "operations": [operation]}))

    return change


def _outside(first: Path) -> None:
    (first.parents[2] / "hostname").write_text(SECRET)
    _with(do="files", path="../../../hostname", folder=None)(first)


def _link(first: Path) -> None:
    (first.parents[2] / "hostname").write_text(SECRET)
    (first / "0").symlink_to(first.parents[2])
    _with(do="files", path="0/hostname", folder=None)(first)


ASIDE = ("cannot be delivered", "It is now in", "cache/outbox/undeliverable/")
KEPT = ("could not be logged to", "outputs are not affected", "it is kept")
TRACKING = [
    Attack(
        "untracked files with secrets", HANDLED, (), _new_files(),
        "MLflow gets their names, and the changes of tracked files alone.",
    ),
    Attack(
        "files that `git add --intent-to-add` announced", HANDLED, (), _new_files("add", "-N"),
        "The same.",
    ),
    Attack(
        "changes of many megabytes", HANDLED, (), _large_change,
        "`lineage/changes.patch` is cut after 1 MB.",
    ),
    Attack(
        "git refuses to read the repository (another owner)", HANDLED, (), _git_that_refuses,
        "`git_revision` and `git_dirty` are `unknown`, and `lineage/environment.json` says why.",
    ),
    Attack("git is not installed", HANDLED, (), _no_git, "The same."),
    Attack(
        "quotes in the name of an experiment", HANDLED, (), _quoted_experiment,
        "Its runs are written and found.",
    ),
    Attack(
        "`mlflow.db` is a directory", WARNING,
        (KEPT[0], "mlflow.db: it is a directory, not a database", *KEPT[1:]), _directory,
    ),
    Attack(
        "`?`, `#` or `%` in the path of the repository", HANDLED, (), _strange_path,
        "The database and the files of runs are in the repository.",
    ),
    Attack(
        "another process holds the store's lock", WARNING,
        ("waiting for process", "which holds the lock", "gave up after", KEPT[2]),
        _locked, "After 5 s it says so, and it gives up after `tracking.deadline_seconds`.",
    ),
    Attack(
        "a tracking server that is silent", WARNING,
        (KEPT[0], "no complete answer within", "tracking.deadline_seconds", *KEPT[1:]),
        _server(tracking_server.silent),
    ),
    Attack(
        "a tracking server that sends a byte now and then", WARNING,
        (KEPT[0], "no complete answer within", "tracking.deadline_seconds", *KEPT[1:]),
        _server(tracking_server.dripping),
    ),
    Attack(
        "a tracking server whose answer has 8 GB", WARNING,
        (KEPT[0], "the answer is longer than", *KEPT[1:]), _server(tracking_server.endless, 60),
    ),
    Attack(
        "a tracking server that takes no files", WARNING,
        (KEPT[0], "no complete answer within", *KEPT[1:]), _server(tracking_server.without_files),
    ),
    Attack(
        "a password in the address of the server", WARNING, ("logged to http://127.0.0.1:9: ",),
        _secret(f"http://user:{SECRET}@127.0.0.1:9"), "Scheme and host of it are printed.",
    ),
    Attack(
        "`?password=` and `?token=` in the address", WARNING, ("logged to http://127.0.0.1:9: ",),
        _secret(f"http://127.0.0.1:9/?password={SECRET}&token=sesame"), "The same.",
    ),
    Attack(
        "an address of a database that cannot be read", WARNING,
        ("logged to postgresql://host: ", "MLFLOW_TRACKING_URI cannot be read as an address"),
        _secret("postgresql://user:open@sesame:open@host/db"),
    ),
    Attack(
        "foreign files among the runs that are kept", HANDLED, (), _outbox(_foreign),
        "They are left alone.",
    ),
    Attack(
        "a kept run whose record is broken", WARNING, ASIDE,
        _outbox(lambda first: (first / "record.json").write_text('{"experiment": '), 1),
        "The other runs are delivered.",
    ),
    Attack(
        "a kept run whose record is missing", WARNING, ASIDE,
        _outbox(lambda first: (first / "record.json").unlink(), 1), "The same.",
    ),
    Attack(
        "a kept run that the store refuses", WARNING, ASIDE,
        _outbox(_with(do="params", values={"a*b": "1"}), 1), "The same.",
    ),
    Attack(
        "a kept run that names a file elsewhere", WARNING,
        (ASIDE[0], "names a file outside its folder", *ASIDE[1:]), _outbox(_outside, 1),
        "The file is not uploaded.",
    ),
    Attack(
        "a kept run with a link to elsewhere", WARNING,
        (ASIDE[0], "names a file outside its folder", *ASIDE[1:]), _outbox(_link, 1), "The same.",
    ),
]  # fmt: skip
