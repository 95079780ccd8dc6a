"""A function over items on a Ray cluster, in order: what `threads.ordered` does on one machine."""

import os
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


@contextmanager
def connected(cpus: int = 1, gpus: float = 0, most: int | None = None) -> "Iterator[Cluster]":
    """Connect to the Ray cluster that `RAY_ADDRESS` names; without it, start one on this machine
    until the block ends.

    Args:
        cpus: processors that an item takes.
        gpus: GPUs that an item takes.
        most: items that may be computed at the same time; None: as many as the cluster has
            processors and GPUs for.

    Raises:
        PipelineError: Ray is not installed, the cluster does not answer, or none of its nodes is
            large enough for an item.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would report to Ray's makers
    try:
        import ray
    except ModuleNotFoundError:
        raise PipelineError(
            "the executor ray needs the package Ray: pip install '.[ray]' in the project's folder, "
            "or use the executor local"
        ) from None
    address = os.environ.get("RAY_ADDRESS")
    size = {} if address else {"num_cpus": cores(), "include_dashboard": False}
    code = {"env_vars": {"PYTHONPATH": str(Path(__file__).parents[2])}}
    try:
        ray.init(
            address or "local",
            runtime_env=code,
            log_to_driver=False,
            logging_level="ERROR",
            **size,
        )
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        reason = _first_line(error)
        raise PipelineError(
            f"no Ray cluster answers at {address or 'this machine'} (RAY_ADDRESS): {reason}; "
            "docs/cluster.md says how to start one"
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
        self.used: set[str] = set()
        nodes = self._nodes().values()
        if not any(self._fits(node) for node in nodes):
            largest = ", ".join(
                f"{_count(node, kind)} {kind}s" for node in nodes for kind in self._needs
            )
            raise PipelineError(
                f"no node of the Ray cluster has {cpus} processors and {gpus:g} GPUs for an item; "
                f"its nodes have {largest}: change execution.ray"
            )

    def size(self) -> str:
        """How large the cluster is now: "2 nodes, 16 at a time"."""
        return f"{_plural(len(self._nodes()), 'node')}, {self._at_a_time()} at a time"

    def lost(self) -> int:
        """How many nodes that had computed something have left since."""
        return len(self.used - set(self._nodes()))

    def summary(self) -> str:
        """Who computed: "computed by 2 nodes; 1 node was lost, and others did its part"."""
        computed = f"computed by {_plural(len(self.used), 'node')}"
        if not (lost := self.lost()):
            return computed
        return f"{computed}; {_plural(lost, 'node')} of them left, and the others did its part"

    def ordered(
        self, function: Callable[[T], R], items: Iterable[T], named: Callable[[T], str]
    ) -> Iterator[R]:
        """Yield `function(item)` for each item, in order, computed by any of the nodes.

        Nodes find the project's folder under the same path as this one. An item whose process or
        node is lost is computed once more, wherever there is room.

        Args:
            function: of a module, or a `functools.partial` of one.
            items: small, since they are sent; twice as many as are computed at a time are waiting.
            named: what an item is called in a message.

        Raises:
            PipelineError: an item was lost twice.
            Exception: what `function` raises for an item, when that item's result is due.
        """
        remote = self._ray.remote(
            num_cpus=self._needs["CPU"],
            num_gpus=self._needs["GPU"],
            max_retries=_ATTEMPTS - 1,
            max_calls=0,  # a process keeps what it has loaded for the next item
            scheduling_strategy="SPREAD",
        )(_computed)
        waiting: deque[tuple[Any, T]] = deque()
        for item in items:
            while len(waiting) >= (self._most or 2 * self._at_a_time()):
                yield self._due(*waiting.popleft(), named)
            waiting.append((remote.remote(function, item, os.getcwd()), item))
        while waiting:
            yield self._due(*waiting.popleft(), named)

    def _due(self, reference: Any, item: T, named: Callable[[T], str]) -> Any:
        try:
            node, result = self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:
            cause = error.cause  # what the function raised
            if isinstance(cause, self._ray.exceptions.RayError):
                raise PipelineError(
                    f"a node of the Ray cluster cannot load the project ({_first_line(cause)}): "
                    "all nodes need it under the same path, with the same environment"
                ) from None
            raise cause from None
        except self._ray.exceptions.RayError as error:
            raise PipelineError(
                f"{named(item)}: what computed it on the Ray cluster was lost {_ATTEMPTS} times "
                f"({_first_line(error)}). The executor local goes on from what came before; it "
                "names an image that cannot be read, and stops where one ends the process"
            ) from None
        self.used.add(node)
        return result

    def _nodes(self) -> dict[str, dict[str, float]]:
        """What each node that is alive has, by its id."""
        return {n["NodeID"]: n["Resources"] for n in self._ray.nodes() if n["Alive"]}

    def _fits(self, node: dict[str, float]) -> int:
        """How many items a node computes at the same time."""
        return int(min(node.get(kind, 0) // need for kind, need in self._needs.items() if need))

    def _at_a_time(self) -> int:
        fits = max(1, sum(self._fits(node) for node in self._nodes().values()))
        return min(fits, self._most or fits)


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


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]


def _count(node: dict[str, float], kind: str) -> str:
    return f"{node.get(kind, 0):g}"


def _plural(count: int, what: str) -> str:
    return f"{count} {what}" + ("" if count == 1 else "s")
