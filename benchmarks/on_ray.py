"""`embed` on a Ray cluster against `embed` on as many processors here: `make on-ray`.

A synthetic archive (`benchmarks/archive.py`) goes through `ingest` and `backbone` in a fresh clone
of the last commit. Then, in pairs, the stage `embed` with the executor `local`, and with `ray` on
nodes that share this machine's processors. Last, the memory of the stage, which hands out the work:
with an archive of a tenth of the size and with a whole one, on the smallest network.
"""

import argparse
import shutil
import statistics
import sys
from pathlib import Path
from typing import Any

from benchmarks import archive, harness, processes, ray_nodes
from benchmarks.scale import NARROW
from deepfake.common.environment import cores
from deepfake.common.errors import PipelineError, command
from deepfake.common.files import write_json
from deepfake.common.labels import SPLITS
from tools import clones
from tools.shell import git

RESULTS, WORK = Path("benchmarks/on_ray.json"), Path("cache/on-ray")
PAGE = Path("docs/ray.md")
NODES = 2
MOST_OVERHEAD, MOST_GROWTH = 0.15, 1.15


@command
def main() -> None:
    parser = argparse.ArgumentParser(prog="make on-ray", description=__doc__)
    parser.add_argument("--images", type=int, default=10_000, help="that are embedded in pairs")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--memory", type=int, default=100_000, help="images, for the memory")
    chosen = parser.parse_args()
    results: dict[str, Any] = {
        "machine": harness.machine(),
        "revision": git("rev-parse", "HEAD").strip(),
    }
    try:
        results["pairs"] = pairs(chosen.images, chosen.pairs)
        results["images"] = chosen.images
        results["memory"] = {size: memory(size) for size in (chosen.memory // 10, chosen.memory)}
    finally:
        shutil.rmtree(WORK, ignore_errors=True)
    write_json(RESULTS, results)
    print(text := report(results))
    harness.put(PAGE, "on-ray", text)


def pairs(images: int, count: int) -> list[dict[str, float]]:
    """Seconds of `embed` with the default network, by either executor."""
    clone = prepared(images, ["backbone.weights=random"])
    found = []
    for number in range(count):
        one = {"local": seconds(clone)}
        expected = embeddings(clone)
        with ray_nodes.running(NODES, max(1, cores() // NODES)) as nodes:
            one["ray"] = seconds(clone, nodes)
        if embeddings(clone) != expected:
            raise PipelineError("the cluster computed other bytes than this machine")
        print(f"pair {number + 1}: {one}", flush=True)
        found.append(one)
    return found


def memory(images: int) -> int:
    """Bytes of memory of the stage that hands out the work, at most."""
    clone = prepared(images, NARROW)
    with ray_nodes.running(NODES, max(1, cores() // NODES)) as nodes:
        return usage(clone, nodes).private


def prepared(images: int, changes: list[str]) -> Path:
    """A clone in which everything before `embed` is done."""
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    archive.write(WORK / "images.zip", images)
    source = ["data.source=folder", f"data.folder.path={(WORK / 'images.zip').resolve()}"]
    clone = clones.clone(WORK / "clone", [*source, *changes])
    processes.timed(clone, "dvc", "repro", "ingest", "backbone")
    return clone


def seconds(clone: Path, nodes: ray_nodes.RayCluster | None = None) -> float:
    return usage(clone, nodes).seconds


def usage(clone: Path, nodes: ray_nodes.RayCluster | None) -> processes.Usage:
    executor = "ray" if nodes else "local"
    clones.change(clone / "params.yaml", [f"execution.executor={executor}"])
    environment = {**clones.environment(), **(nodes.environment if nodes else {})}
    stage = [sys.executable, "-m", "stages.embed"]
    return processes.watch(stage, clone, environment)["embed"]


def embeddings(clone: Path) -> list[bytes]:
    return [(clone / f"data/embeddings/{split}.npy").read_bytes() for split in SPLITS]


def report(results: dict[str, Any]) -> str:
    """What was measured, and whether it is within the bounds, as Markdown."""
    overheads = _overheads(results)
    middle = overhead(results)
    local, ray = median(results, "local"), median(results, "ray")
    (few, little), (many, much) = sorted(results["memory"].items())
    return "\n".join(
        [
            f"| `embed` on {results['machine']['cores']} processors | here | on {NODES} Ray nodes "
            "| required | holds |",
            "|---|---:|---:|---:|---|",
            f"| {results['images']:,} images, default network | {local:,.0f} s | {ray:,.0f} s "
            f"({middle:+.0%}; {min(overheads):+.0%} to {max(overheads):+.0%}) | "
            f"≤ {MOST_OVERHEAD:+.0%} | {_holds(middle <= MOST_OVERHEAD)} |",
            f"| memory that hands out {few:,} and {many:,} images | | {little / 1e6:,.0f} and "
            f"{much / 1e6:,.0f} MB | ≤ {MOST_GROWTH:g}× | {_holds(much <= MOST_GROWTH * little)} |",
        ]
    )


def median(results: dict[str, Any], executor: str) -> float:
    """Seconds with an executor."""
    return float(statistics.median(pair[executor] for pair in results["pairs"]))


def overhead(results: dict[str, Any]) -> float:
    """How much longer the cluster takes, as a fraction."""
    return statistics.median(_overheads(results))


def _overheads(results: dict[str, Any]) -> list[float]:
    return [pair["ray"] / pair["local"] - 1 for pair in results["pairs"]]


def _holds(holds: bool) -> str:
    return "yes" if holds else "**no**"


if __name__ == "__main__":
    main()
