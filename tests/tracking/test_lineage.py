"""Where a run comes from: git's word, and what a run may hold of the working directory."""

import os
import subprocess
from pathlib import Path

import pytest

from deepfake.tracking import lineage
from tests.support.tracking import recorded, run


def test_a_run_says_from_which_revision_it_comes_and_whether_that_was_changed(
    store: Path,
) -> None:
    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        done = subprocess.run(
            ["git", *identity, *arguments], capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    git("init")
    Path("code.py").write_text("1")
    git("add", "code.py")
    git("commit", "-m", "first")
    with run():
        pass
    Path("code.py").write_text("2")
    with run():
        pass
    tags = [found.data.tags for found in recorded(store)]
    assert [tag["git_dirty"] for tag in tags] == ["false", "true"]
    assert {tag["git_revision"] for tag in tags} == {git("rev-parse", "HEAD")}


def git(*arguments: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    done = subprocess.run(["git", *identity, *arguments], capture_output=True, check=True)
    return done.stdout.decode()


@pytest.fixture
def committed() -> None:
    """The working directory is a repository with one commit."""
    git("init", "-q")
    Path(".gitignore").write_text("ignored.txt\n")
    Path("code.py").write_text("first\n")
    git("add", "-A")
    git("commit", "-qm", "first")


def test_an_unchanged_commit_is_clean(committed: None) -> None:
    Path("ignored.txt").write_text("text")
    Path("report.md").write_text("the pipeline's own")
    assert not lineage.find_changes()
    assert lineage.origin()["git_dirty"] == "false"
    assert lineage.revision() == git("rev-parse", "HEAD").strip()


def test_untracked_files_are_named_and_their_contents_stay_out(committed: None) -> None:
    for name in ("secrets.txt", "keys.yaml", "ignored.txt", "more/one.py", "more/two.py"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text("hush")
    changes = lineage.find_changes()
    assert changes.patch == ""
    assert changes.untracked == ["keys.yaml", "more/", "secrets.txt"]
    assert lineage.origin(changes)["git_dirty"] == "true"


def test_the_patch_gives_the_tracked_files_back(committed: None) -> None:
    changed = "second\r\nline\n\n"
    Path("code.py").write_bytes(changed.encode())
    git("config", "color.ui", "always")
    git("config", "core.autocrlf", "false")
    patch = lineage.find_changes().patch
    git("checkout", "-q", ".")
    Path("changes.patch").write_bytes(patch.encode())
    git("apply", "changes.patch")
    assert Path("code.py").read_bytes() == changed.encode()


def test_a_long_patch_is_cut_and_says_so(committed: None) -> None:
    Path("code.py").write_text("Ünï\n" * 400_000)
    patch = lineage.find_changes().patch
    assert 900_000 < len(patch.encode()) < 1_000_100
    assert patch.endswith("\n[cut after 1,000,000 bytes]\n")


def test_many_untracked_files_are_counted(committed: None) -> None:
    for number in range(1003):
        Path(f"{number:04}.png").touch()
    untracked = lineage.find_changes().untracked
    assert len(untracked) == 1001
    assert untracked[-1] == "and 3 more"


def test_a_repository_without_a_commit_has_no_revision() -> None:
    assert lineage.revision() == "none"
    assert lineage.origin()["git_dirty"] == "false"
    git("init", "-q")
    assert lineage.revision() == "none"
    assert lineage.origin()["git_dirty"] == "false"


def test_a_run_can_do_without_git(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", os.devnull)
    with run():
        pass
    tags = recorded(store)[0].data.tags
    assert (tags["git_revision"], tags["git_dirty"]) == ("unknown", "unknown")


def test_a_repository_that_git_refuses_has_an_unknown_revision(
    committed: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")  # "dubious ownership"
    assert lineage.revision() == "unknown"
    assert lineage.origin()["git_dirty"] == "unknown"
    assert not lineage.find_changes()
