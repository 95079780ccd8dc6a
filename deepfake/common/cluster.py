"""A function over items on a Ray cluster, in order: what `threads.ordered` does on one machine."""

import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from deepfake.common.environment import cores
from deepfake.common.errors import PipelineError

T = TypeVar("T")
R = TypeVar("R")

_ATTEMPTS = 2  # of each item: once more, if the process or node that computes it is lost
_LOOK_SECONDS = 5.0  # between two looks at which nodes there are


class Lost(PipelineError):
    """An item whose process or node was lost each time."""


@contextmanager
def connected(cpus: int = 1, gpus: float = 0, most: int | None = None) -> "Iterator[Cluster]":
    """Connect to the Ray cluster that `RAY_ADDRESS` names; without it, start one on this machine
    until the block ends.

    Args:
        cpus: processors that an item takes.
        gpus: GPUs that an item takes.
        most: items that the cluster has at the same time, at most; None: as many as its processors
            and GPUs compute, and as many again that wait.

    Raises:
        PipelineError: Ray is not installed, the cluster does not answer, or none of its nodes is
            large enough for an item.
    """
    ray = _imported()
    address = os.environ.get("RAY_ADDRESS")
    size = {} if address else {"num_cpus": cores(), "include_dashboard": False}
    variables = {"PYTHONPATH": str(Path(__file__).parents[2])}
    if not gpus:
        variables["CUDA_VISIBLE_DEVICES"] = ""  # Ray would show all of them to each item
    try:
        with _same_signals():
            ray.init(
                address or "local",
                runtime_env={"env_vars": variables},
                log_to_driver=False,
                logging_level="ERROR",
                **size,
            )
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise PipelineError(
            f"no Ray cluster answers at {address or 'this machine'} (RAY_ADDRESS): "
            f"{_first_line(error)}; docs/ray.md says how to start one"
        ) from error
    try:
        yield Cluster(ray, cpus, gpus, most)
    finally:
        ray.shutdown()


class Cluster:
    """A Ray cluster that computes; `connected` makes it.

    Attributes:
        used: the ids of the nodes that have computed something so far.
    """

    def __init__(self, ray: Any, cpus: int, gpus: float, most: int | None) -> None:
        self._ray = ray
        self._needs = {"CPU": cpus, "GPU": gpus}
        self._most = most
        self._looked = -_LOOK_SECONDS
        self._fit = 0
        self.used: set[str] = set()
        nodes = self._nodes().values()
        if not any(self._fits(node) for node in nodes):
            most_cpus, most_gpus = (
                max((node.get(kind, 0) for node in nodes), default=0) for kind in self._needs
            )
            raise PipelineError(
                f"no node of the Ray cluster has {cpus} processors and {gpus:g} GPUs, which a task "
                f"takes; the largest have {most_cpus:g} processors and {most_gpus:g} GPUs: ask for "
                "less (execution.ray, --threads)"
            )

    def size(self) -> str:
        """How large the cluster is now: "2 nodes, 16 at a time"."""
        at_a_time = min(self._at_a_time(), self._window())
        return f"{_nodes(len(self._nodes()))}, {at_a_time} at a time"

    def lost(self) -> int:
        """How many nodes that had computed something have left since."""
        return len(self.used - set(self._nodes()))

    def summary(self) -> str:
        """Who computed: "computed by 3 nodes, of which 1 was lost"."""
        lost = self.lost()
        also = f", of which {lost} {'was' if lost == 1 else 'were'} lost" if lost else ""
        return f"computed by {_nodes(len(self.used))}{also}"

    def ordered(
        self,
        function: Callable[[T], R],
        items: Iterable[T],
        named: Callable[[T], str],
        instead: Callable[[Lost], R] | None = None,
    ) -> Iterator[R]:
        """Yield `function(item)` for each item, in order, computed by any of the nodes.

        Nodes find the current folder under the same path as this machine. An item whose process or
        node is lost is computed once more, wherever there is room.

        Args:
            function: of a module, or a `functools.partial` of one.
            items: small, since they are sent.
            named: what an item is called in a message.
            instead: what is yielded for an item that was lost twice; None: it is an error.

        Raises:
            Lost: an item was lost twice.
            PipelineError: a node cannot run the project.
            Exception: what `function` raises for an item, when that item's result is due.
        """
        remote = self._ray.remote(
            num_cpus=self._needs["CPU"],
            num_gpus=self._needs["GPU"],
            max_retries=_ATTEMPTS - 1,
            max_calls=0,  # a process keeps what it has loaded for the next item
            scheduling_strategy="SPREAD",
        )(_computed)

        def due() -> R:
            reference, item = waiting.popleft()
            try:
                node, result = self._result(reference)
            except self._ray.exceptions.RayError as error:
                lost = Lost(
                    f"{named(item)}: what computed it on the Ray cluster was lost {_ATTEMPTS} "
                    f"times ({_first_line(error)})"
                )
                if instead is None:
                    raise lost from None
                return instead(lost)
            self.used.add(node)
            found: R = result
            return found

        waiting: deque[tuple[Any, T]] = deque()
        for item in items:
            while len(waiting) >= self._window():
                yield due()
            waiting.append((remote.remote(function, item, os.getcwd()), item))
        while waiting:
            yield due()

    def _result(self, reference: Any) -> tuple[str, Any]:
        """The node and the result of an item.

        Raises:
            RayError: it was lost.
            PipelineError: the node cannot run the project.
            Exception: what the function raised.
        """
        try:
            found: tuple[str, Any] = self._ray.get(reference)
            return found
        except self._ray.exceptions.RayTaskError as error:
            cause = error.cause
            if isinstance(cause, PipelineError):
                raise cause from None
            if isinstance(cause, ImportError | self._ray.exceptions.RaySystemError):
                raise PipelineError(
                    f"a node of the Ray cluster cannot run the project ({_first_line(cause)}): all "
                    "nodes need it under the same path, with the same environment"
                ) from error
            raise cause from error  # with what the node says of it

    def _nodes(self) -> dict[str, dict[str, float]]:
        """What each node that is alive has, by its id."""
        return {n["NodeID"]: n["Resources"] for n in self._ray.nodes() if n["Alive"]}

    def _fits(self, node: dict[str, float]) -> int:
        """How many items a node computes at the same time."""
        return int(min(node.get(kind, 0) // need for kind, need in self._needs.items() if need))

    def _at_a_time(self) -> int:
        """How many items the nodes compute at the same time; nodes may come and go."""
        if time.monotonic() - self._looked >= _LOOK_SECONDS:
            self._fit = sum(self._fits(node) for node in self._nodes().values())
            self._looked = time.monotonic()
        return max(1, self._fit)

    def _window(self) -> int:
        """How many items the cluster has at the same time, those that wait included."""
        window = 2 * self._at_a_time()
        return window if self._most is None else min(window, self._most)


def _imported() -> Any:
    """The package Ray, told what it may do.

    Raises:
        PipelineError: it is not installed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would report to Ray's makers
    # What runs out of memory would be tried again for ever.
    os.environ.setdefault("RAY_task_oom_retries", str(_ATTEMPTS - 1))
    try:
        import ray
    except ModuleNotFoundError:
        raise PipelineError(
            "the executor ray needs the package Ray: pip install '.[ray]' in the project's folder, "
            "or use the executor local"
        ) from None
    return ray


@contextmanager
def _same_signals() -> Iterator[None]:
    """Keep how this process ends on SIGTERM, which Ray would change."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, handler)


def _computed(function: Callable[[T], R], item: T, folder: str) -> tuple[str, R]:
    """Compute an item on a node; also return the node's id."""
    import ray

    if not Path(folder).is_dir():
        raise PipelineError(
            f"the node {ray.util.get_node_ip_address()} has no folder {folder}: all nodes of a Ray "
            "cluster need the project under the same path, for example over NFS"
        )
    os.chdir(folder)
    return ray.get_runtime_context().get_node_id(), function(item)


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _nodes(count: int) -> str:
    return f"{count} node" if count == 1 else f"{count} nodes"
