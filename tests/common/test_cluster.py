"""A function on a Ray cluster of two nodes: order, errors, and what is lost."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial

import psutil
import pytest

from benchmarks import ray_nodes
from deepfake.common import cluster
from deepfake.common.errors import PipelineError

pytestmark = pytest.mark.slow


@contextmanager
def joined() -> Iterator[ray_nodes.RayCluster]:
    """Two nodes that this process finds."""
    with ray_nodes.running(2) as running, pytest.MonkeyPatch.context() as patch:
        for name, value in running.environment.items():
            patch.setenv(name, value)
        yield running


@pytest.fixture(scope="module")
def nodes():
    with joined() as running:
        yield running


def slowly(seconds: float, item: int) -> tuple[int, int, str]:
    time.sleep(seconds)
    return item, os.getpid(), os.getcwd()


def refused(item: int) -> int:
    if item == 3:
        raise PipelineError("the image 3 is damaged")
    return item


def ended(item: int) -> int:
    if item == 3:
        os._exit(1)
    return item


def unloaded(item: int) -> int:
    import a_package_that_is_not_there  # noqa: F401

    return item


def number(item: int) -> str:
    return f"number {item}"


def test_results_come_in_order_from_both_nodes_in_this_folder(nodes):
    with cluster.connected() as connected:
        assert connected.size() == "2 nodes, 2 at a time"
        found = list(connected.ordered(partial(slowly, 0.2), range(40), number))
        assert connected.summary() == "computed by 2 nodes"
    assert [item for item, _, _ in found] == list(range(40))
    assert {folder for _, _, folder in found} == {os.getcwd()}
    assert len({process for _, process, _ in found}) < 10  # processes are used again


@pytest.mark.parametrize(
    ("function", "message"),
    [(refused, r"^the image 3 is damaged$"), (ended, r"^number 3: .* lost 2 times")],
)
def test_what_an_item_comes_to_is_told_in_its_turn(nodes, function, message):
    with cluster.connected() as connected:
        found = connected.ordered(function, range(10), number)
        assert [next(found) for _ in range(3)] == [0, 1, 2]
        with pytest.raises(PipelineError, match=message):
            next(found)


def test_an_item_that_is_lost_may_become_something_else(nodes):
    with cluster.connected() as connected:
        found = list(connected.ordered(ended, range(2, 6), number, instead=str))
    assert [found[0], *found[2:]] == [2, 4, 5]
    assert found[1].startswith("number 3: what computed it on the Ray cluster was lost 2 times (")


def test_what_the_cluster_has_at_a_time_is_bounded(nodes):
    taken = []

    def items():
        for item in range(9):
            taken.append(item)
            yield item

    for most, ahead in ((1, 1), (3, 3), (None, 4), (100, 4)):
        with cluster.connected(most=most) as connected:
            found = connected.ordered(abs, items(), number)
            taken.clear()
            next(found)
            assert len(taken) == ahead + 1
            found.close()


def test_a_node_that_cannot_run_the_project_is_one_sentence(nodes, monkeypatch):
    with cluster.connected() as connected:
        with pytest.raises(PipelineError, match=r"cannot run the project .*a_package_that_is_not"):
            list(connected.ordered(unloaded, [1], number))
        monkeypatch.setattr(os, "getcwd", lambda: "/no/such/folder")
        with pytest.raises(PipelineError, match=r"^the node \S+ has no folder /no/such/folder: "):
            list(connected.ordered(abs, [1], number))


def test_the_process_ends_on_sigterm_as_before(nodes):
    before = signal.getsignal(signal.SIGTERM)
    with cluster.connected():
        assert signal.getsignal(signal.SIGTERM) is before


def test_an_item_that_fits_no_node_is_refused(nodes):
    with (
        pytest.raises(PipelineError, match=r"no node .* 2 processors .* have 1 processors"),
        cluster.connected(cpus=2),
    ):
        pass


def program(*lines: str) -> list[str]:
    """A program of its own, since Ray reads the token once in each process."""
    text = "from deepfake.common import cluster, errors\n\n@errors.command\ndef main():\n"
    body = "".join(f"        {line}\n" for line in lines)
    return [sys.executable, "-c", f"{text}    with cluster.connected() as ray:\n{body}\nmain()"]


def test_another_token_is_one_sentence(nodes, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_TOKEN", "0" * 64)
    done = subprocess.run(program("pass"), capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: no Ray cluster answers at 127.0.0.1:")
    assert "Traceback" not in done.stderr


def test_a_node_that_is_killed_half_way_loses_nothing():
    with joined() as nodes, cluster.connected() as connected:
        found = []
        for result in connected.ordered(partial(slowly, 0.3), range(40), number):
            found.append(result[0])
            if len(found) == 15:
                assert connected.summary() == "computed by 2 nodes"
                nodes.kill_node()
        assert connected.summary() == "computed by 2 nodes, of which 1 was lost"
    assert found == list(range(40))


def test_without_ray_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with (
        pytest.raises(PipelineError, match=r"needs the package Ray: pip install '\.\[ray\]'"),
        cluster.connected(),
    ):
        pass


@pytest.mark.parametrize("end", ["pass", "os.kill(os.getpid(), 9)"])
def test_without_an_address_it_computes_here_and_leaves_nothing(end: str):
    own = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], "OF_THIS_TEST": end}
    lines = (
        "import os",
        "print(ray.size(), list(ray.ordered(abs, [-1, -2], str)), flush=True)",
        end,
    )
    done = subprocess.run(program(*lines), capture_output=True, text=True, env=own)
    assert done.returncode == (0 if end == "pass" else -9), done.stderr
    assert done.stdout.splitlines()[-1].startswith("1 node, ")
    assert done.stdout.splitlines()[-1].endswith("at a time [1, 2]")
    deadline = time.monotonic() + 60
    while left := with_environment("OF_THIS_TEST", end):
        assert time.monotonic() < deadline, left
        time.sleep(0.5)


def with_environment(name: str, value: str) -> list[str]:
    """The processes that have a variable."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get(name) == value and process.status() != "zombie":
                found.append(process.name())
    return found
