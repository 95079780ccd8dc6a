"""Unfinished work: kept after an error, removed after success, and used by one process."""

import subprocess

import pytest

from deepfake.common import resume


@pytest.fixture(autouse=True)
def repository(tmp_path, monkeypatch):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    return tmp_path


def test_work_is_continued_under_the_same_key_alone(repository):
    def half() -> None:
        with resume.unfinished("train", "one") as work:
            assert work == repository / "cache" / "train" / "one"
            (work / "done").write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        half()
    for stage, key in (("train", "two"), ("embed", "one")):
        with resume.unfinished(stage, key) as work:
            assert not list(work.iterdir())
    with resume.unfinished("train", "one") as work:
        assert (work / "done").read_text() == "half"
    assert not list((repository / "cache").rglob("one*"))


def test_a_second_process_gets_a_folder_of_its_own(repository, python):
    code = (
        "from deepfake.common import resume\n"
        "with resume.unfinished('train', 'one') as work:\n"
        "    print(work.name, len(list(work.iterdir())))"
    )
    command, environment = python(code, DVC_ROOT=str(repository))
    with resume.unfinished("train", "one") as work:
        (work / "mine").touch()
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        name, files = done.stdout.split()
        assert name.startswith("one-")
        assert files == "0"
        assert (work / "mine").exists()
    assert not list((repository / "cache" / "train").iterdir())
