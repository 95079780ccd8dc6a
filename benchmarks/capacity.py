"""What a run with more images than were ever tried would take: `make capacity IMAGES=10000000`.

Time, memory, disk and cost are extrapolated from what `make scale` and `make on-ray` measured, in
two committed files; each constant is printed with where it comes from. Prices are assumptions.
"""

import argparse
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks import on_ray, scale
from benchmarks.archive import PARTS
from deepfake import params
from deepfake.common.errors import command
from deepfake.common.files import read_json
from deepfake.data import embeddings, shards

CPU_NODES, GPUS = (1, 10, 100), (1, 8)
# Stages that run on one machine, however many nodes there are.
SINGLE = ("ingest", "metadata", "baseline", "wide train", "evaluate", "compare")
# Assumed: what a node has, and what is comfortable.
NODE_MEMORY, DISK, TABLE = 64e9, 8e12, 1e9  # bytes
GROUPS, FILES = 1_000_000, 100_000
PREDICTION = 60  # bytes of a row of predictions: image_id, label, score, source


@dataclass(frozen=True)
class Prices:
    """In US dollars; assumed, not looked up.

    Attributes:
        core_hour: of one processor core of a node.
        gpu_hour: of one GPU with the cores beside it.
        gigabyte_month: of disk.
    """

    core_hour: float
    gpu_hour: float
    gigabyte_month: float


@dataclass(frozen=True)
class Line:
    """A stage's time and memory as a straight line through the two sizes that were measured.

    Attributes:
        size: images of the larger one.
        seconds, memory: there.
        each_second, each_byte: more for each image more.
    """

    size: int
    seconds: float
    memory: float
    each_second: float
    each_byte: float

    @classmethod
    def through(
        cls, few: int, small: dict[str, float], many: int, large: dict[str, float]
    ) -> "Line":
        step = many - few
        return cls(
            many, large["seconds"], large["peak"],
            max(0.0, (large["seconds"] - small["seconds"]) / step),
            max(0.0, (large["peak"] - small["peak"]) / step),
        )  # fmt: skip

    def at(self, images: int) -> tuple[float, float]:
        """Seconds and bytes of memory with so many images."""
        more = images - self.size
        return self.seconds + more * self.each_second, self.memory + more * self.each_byte


class Measured:
    """What `make scale` and, if it is there, `make on-ray` measured.

    Args:
        results: of `make scale`, with two sizes.
        ray: of `make on-ray`; None if it was not run.
    """

    def __init__(self, results: dict[str, Any], ray: dict[str, Any] | None) -> None:
        few, many = sorted(results["sizes"], key=int)
        small, large = (scale.measured(results["sizes"][size]) for size in (few, many))
        self.size, self.cores = int(many), int(results["machine"]["cores"])
        self.stages = {
            name: Line.through(int(few), small[name], int(many), large[name]) for name in SINGLE
        }
        # It keeps two blocks in memory, which the smaller size does not fill, and no more.
        self.stages["wide train"] = replace(self.stages["wide train"], each_byte=0.0)
        self.embed = large["slice embed"]["each"] * self.cores
        self.decode = large["embed"]["seconds"] / self.size * self.cores
        self.shard_bytes = large["ingest"]["written"] / self.size
        self.width = int(large["wide train"]["width"])
        self.overhead = on_ray.overhead(ray) if ray else 0.0
        self.ray = ray


def embedding_bytes(images: int, width: int, views: int) -> float:
    """Bytes of the embeddings, with the splits' shares of the 140k data set."""
    each = sum(part * embeddings.DTYPES[split].itemsize for split, part in PARTS.items())
    return images * width * views * each / sum(PARTS.values())


def clusters(images: int, measured: Measured, prices: Prices, cores: int) -> list[str]:
    """Time and cost on clusters of several sizes, as a Markdown table."""
    single = sum(line.at(images)[0] for line in measured.stages.values())
    lines = [
        "| cluster | embed | other stages, one node | together | bottleneck | compute |",
        "|---|---:|---:|---:|---|---:|",
    ]
    for nodes in CPU_NODES:
        used = nodes * cores
        embed = images * measured.embed * (1 + measured.overhead) / used
        cost = (embed * nodes + single) / 3600 * cores * prices.core_hour
        what = f"{nodes} CPU node{'s' if nodes > 1 else ''}"
        lines.append(_row(f"{what} of {cores} cores", embed, single, "the network", cost))
    for gpus in GPUS:
        embed = images * measured.decode / (gpus * cores)
        cost = (embed * gpus * prices.gpu_hour + single * cores * prices.core_hour) / 3600
        what = f"{gpus} GPU{'s' if gpus > 1 else ''} with {cores} cores each"
        lines.append(_row(what, embed, single, "decoding and resizing", cost))
    return lines


def _row(what: str, embed: float, single: float, bottleneck: str, cost: float) -> str:
    slower = bottleneck if embed > single else "stages on one node"
    return (
        f"| {what} | {_hours(embed)} | {_hours(single)} | {_hours(embed + single)} | {slower} "
        f"| ${cost:,.0f} |"
    )


def storage(images: int, measured: Measured, views: int, prices: Prices) -> list[str]:
    """Disk, and memory of the stage that takes the most."""
    shard_bytes = images * measured.shard_bytes
    embedded = embedding_bytes(images, measured.width, views)
    total = 2 * shard_bytes + embedded
    memory = {name: line.at(images)[1] for name, line in measured.stages.items()}
    highest = max(memory, key=lambda name: memory[name])
    return [
        f"Disk: {_bytes(shard_bytes)} of images as they come and as much as shards, "
        f"{_bytes(embedded)} of embeddings ({views} views of {measured.width:,} features): "
        f"{_bytes(total)}, ${total / 1e9 * prices.gigabyte_month:,.0f} a month. Where DVC's cache "
        "cannot be linked to, twice as much.",
        f"Memory: {_bytes(memory[highest])} at most, in `{highest}`.",
    ]


def limits(images: int, measured: Measured, views: int) -> list[str]:
    """What becomes too large, and with how many images; the first to be reached comes first."""
    test = PARTS["test"] / sum(PARTS.values())
    groups = max(1 / shards.GROUP_ROWS, measured.shard_bytes / shards.GROUP_BYTES)
    files = measured.shard_bytes / (params.load().data.shard_megabytes * 1e6)
    reached = {
        f"the embeddings, one file a split, are more than a disk of {_bytes(DISK)}":
            DISK / embedding_bytes(1, measured.width, views),
        f"a table of predictions in MLflow's artifact store is more than {_bytes(TABLE)}":
            TABLE / (test * PREDICTION),
        f"the Parquet row groups, whose list is in memory, are more than {GROUPS:,}":
            GROUPS / groups,
        f"the shards, which DVC's index lists, are more than {FILES:,}": FILES / files,
    }  # fmt: skip
    for name, line in measured.stages.items():
        if line.each_byte:
            what = f"`{name}` takes more memory than a node of {_bytes(NODE_MEMORY)}"
            reached[what] = line.size + (NODE_MEMORY - line.memory) / line.each_byte
    lines = ["What becomes too large, by the number of images:"]
    for what in sorted(reached, key=lambda what: reached[what]):
        now = " **(reached)**" if reached[what] <= images else ""
        lines.append(f"- from {_images(reached[what])} images on, {what}{now}")
    return lines


def constants(measured: Measured, prices: Prices) -> list[str]:
    """Every constant with where it comes from, as a Markdown table."""
    found = f"{scale.RESULTS}, {measured.size:,} images"
    rows = [
        ("embed, default network", f"{1000 * measured.embed:.1f} ms a core", f"slice, {found}"),
        ("decoding, resizing", f"{1000 * measured.decode:.2f} ms a core", f"narrow, {found}"),
        ("shards", f"{measured.shard_bytes / 1000:.1f} kB an image", f"ingest, {found}"),
        ("overhead of the cluster", f"{measured.overhead:+.0%}",
         str(on_ray.RESULTS) if measured.ray else "not measured: make on-ray"),
    ]  # fmt: skip
    for name, line in measured.stages.items():
        said = f"{1e6 * line.each_second:.1f} µs and {line.each_byte:.0f} B an image more"
        rows.append((name, said, found))
    rows += [
        ("a core for an hour", f"${prices.core_hour:g}", "assumed: --core-hour"),
        ("a GPU for an hour", f"${prices.gpu_hour:g}", "assumed: --gpu-hour"),
        ("a GB for a month", f"${prices.gigabyte_month:g}", "assumed: --gigabyte-month"),
    ]
    lines = ["| constant | value | from |", "|---|---:|---|"]
    return lines + [f"| {' | '.join(row)} |" for row in rows]


def check(measured: Measured) -> str:
    """The plan against what two nodes took here."""
    if measured.ray is None:
        return "The plan was not checked against a cluster: `make on-ray` measures one."
    images, cores = measured.ray["images"], measured.ray["machine"]["cores"]
    planned = images * measured.embed * (1 + measured.overhead) / cores
    took = on_ray.median(measured.ray, "ray")
    return (
        f"Two nodes that share {cores} cores embedded {images:,} images in {took:,.0f} s; this "
        f"plan, with the time an image of `make scale`, says {planned:,.0f} s."
    )


def _hours(seconds: float) -> str:
    if seconds < 3600:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:,.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:,.1f} d"


def _images(count: float) -> str:
    return f"{count / 1e9:,.1f} billion" if count >= 1e9 else f"{count / 1e6:,.0f} million"


def _bytes(count: float) -> str:
    return f"{count / 1e12:,.1f} TB" if count >= 1e12 else f"{count / 1e9:,.1f} GB"


@command
def main() -> None:
    parser = argparse.ArgumentParser(prog="make capacity", description=__doc__)
    parser.add_argument("images", type=int)
    parser.add_argument("--cores", type=int, default=16, help="of a node, and beside each GPU")
    parser.add_argument("--core-hour", type=float, default=0.05, help="US dollars")
    parser.add_argument("--gpu-hour", type=float, default=3.0, help="US dollars")
    parser.add_argument("--gigabyte-month", type=float, default=0.08, help="US dollars")
    chosen = parser.parse_args()
    prices = Prices(chosen.core_hour, chosen.gpu_hour, chosen.gigabyte_month)
    ray = read_json(on_ray.RESULTS) if Path(on_ray.RESULTS).exists() else None
    measured = Measured(read_json(scale.RESULTS), ray)
    views = len(params.load().embed.views)
    parts = [
        [f"{chosen.images:,} images, extrapolated from {measured.size:,}:"],
        clusters(chosen.images, measured, prices, chosen.cores),
        ["No GPU was measured: the lines with GPUs take it that the network costs nothing there."],
        storage(chosen.images, measured, views, prices),
        limits(chosen.images, measured, views),
        constants(measured, prices),
        [check(measured)],
    ]
    print("\n\n".join("\n".join(part) for part in parts))


if __name__ == "__main__":
    main()
