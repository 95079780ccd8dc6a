"""Outputs in S3 and over SSH: a second clone takes them all and computes nothing.

The commands of docs/remotes.md, which `test_documented_commands.py` runs, do so with a folder.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pipeline.conftest import Clone
from tests.support import s3_server, ssh_server

pytestmark = pytest.mark.slow

Place = tuple[str, dict[str, str], dict[str, str]]  # address, private settings, environment


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    if request.param == "s3":
        with s3_server.serving() as server:
            server.put({}, "storage")
            yield "s3://storage/dvc", {}, s3_server.environment(server.address, tmp_path)
    else:
        with ssh_server.serving(tmp_path / "ssh") as server:
            yield server.address, {"keyfile": str(server.keyfile)}, {}


def use(clone: Clone, settings: dict[str, str]) -> None:
    for name, value in settings.items():
        clone.run("dvc", "remote", "modify", "--local", "storage", name, value)


@pytest.mark.parametrize("place", ["s3", "ssh"], indirect=True)
def test_a_second_clone_with_the_remote_rebuilds_nothing(
    computed: Clone, place: Place, tmp_path: Path
) -> None:
    address, private, environment = place
    first = computed.copied(tmp_path / "first")
    first.run("dvc", "remote", "add", "--default", "storage", address)
    first.run("git", "commit", "-qam", "a remote")
    use(first, private)
    first.run("dvc", "push", "--run-cache", **environment)

    second = first.cloned(tmp_path / "second")
    use(second, private)
    assert not (second.path / "data").exists()
    printed = second.run("dvc", "repro", "--pull", **environment)
    assert second.stages_run(printed) == []
    assert second.run("dvc", "status").splitlines()[-1] == "Data and pipelines are up to date."
    model = Path("data/models/detector.keras")
    assert (second.path / model).read_bytes() == (first.path / model).read_bytes()

    third = first.cloned(tmp_path / "third")
    use(third, private)
    third.run("dvc", "pull", **environment)
    assert "up to date" in third.run("dvc", "status")
    for clone in (first, second, third):
        outside = ("--exclude-dir=tests", "--exclude-dir=.git")  # where the secret is written down
        assert clone.run("grep", "-rlF", s3_server.SECRET, ".", *outside, fails=True) == ""
        assert "keyfile" not in (clone.path / ".dvc/config").read_text()
