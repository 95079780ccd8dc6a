"""140,000 images: time, memory and disk of each stage, and how they grow: `make scale`.

For each size, a synthetic archive (`benchmarks/archive.py`) goes through the pipeline in a fresh
clone of the last commit, step by step; what is done is kept in `benchmarks/scale.json`, and the
archive and the clone below `cache/scale/`, so that an interrupted run goes on.

- `data`: `dvc repro baseline`, that is ingest, metadata and baseline.
- `narrow`: the whole pipeline with the smallest network (width 0.35, 32 pixels, one layer), for
  what every stage does once for each image, decoding included.
- `nothing`: `dvc repro` with nothing to do.
- `wide`: `train` on synthetic embeddings of the default network's width.
- `slice`: `embed` with the default parameters on some of the images; the full run's time is
  extrapolated from two such slices, so that starting up is not counted for every image.
"""

import argparse
import json
import shutil
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import archive, harness, processes
from deepfake import params
from deepfake.common.errors import PipelineError, command
from deepfake.common.files import read_json, read_yaml, write_json
from deepfake.common.labels import SPLITS
from deepfake.data import embeddings
from deepfake.models import mobilenet_v2, pooling, tensorflow_setup
from tools import clones
from tools.shell import git

RESULTS, WORK = Path("benchmarks/scale.json"), Path("cache/scale")
PAGE = Path("docs/speed.md")
BYTES_PER_PICTURE = 110_000  # on disk at once: archive, shards, embeddings of two views
MAX_BYTES, MAX_GROWTH, MAX_SECONDS = 3_000_000_000, 1.15, 2.0
NOTHING_REPETITIONS = 3
NARROW = [
    "backbone.weights=random", "backbone.alpha=0.35", "backbone.image_size=32",
    "embed.layers=[block_3_expand_relu]", "embed.pooling=average", "embed.views=[original]",
    "embed.batch_size=64", "train.epochs=2",
]  # fmt: skip

Result = dict[str, Any]


@dataclass
class Scale:
    """One size: its folder, and the steps measured so far."""

    size: int
    slice: int
    folder: Path

    @property
    def archive(self) -> Path:
        return self.folder / "images.zip"

    @property
    def clone(self) -> Path:
        return self.folder / "clone"

    def repro(self, *targets: str) -> dict[str, processes.Usage]:
        return processes.watch(["dvc", "repro", *targets], self.clone, clones.environment())

    def change(self, *changes: str) -> None:
        clones.change(self.clone / "params.yaml", list(changes))


def data(scale: Scale) -> Result:
    return _stages(scale, scale.repro("baseline"))


def narrow(scale: Scale) -> Result:
    scale.change(*NARROW)
    return _stages(scale, scale.repro())


def nothing(scale: Scale) -> Result:
    seconds = [processes.timed(scale.clone, "dvc", "repro") for _ in range(NOTHING_REPETITIONS)]
    return {"seconds": statistics.median(seconds)}


def wide(scale: Scale) -> Result:
    """`train` alone, without DVC, on embeddings that are noise with a little of the label in it."""
    scale.change(*_defaults())
    scale.repro("backbone")
    chosen = params.load(scale.clone / "params.yaml").embed
    folder = scale.clone / "data/embeddings"
    channels, width = _widths(scale.clone / "params.yaml")
    for split in SPLITS:
        labels = embeddings.Embeddings.open(folder, split).labels
        dtype = embeddings.DTYPES[split]
        _noise(folder / f"{split}.npy", labels, len(chosen.views), width, dtype)
    facts = read_json(folder / "features.json")
    facts |= {"dimensions": width, "views": chosen.views}
    facts |= {"pooling": chosen.pooling, "channels": channels}
    write_json(folder / "features.json", facts)
    (scale.clone / "dvc.lock").unlink()  # it knows other embeddings, and `train` would refuse these
    environment = clones.environment()
    used = processes.watch([sys.executable, "-m", "stages.train"], scale.clone, environment)
    shutil.rmtree(folder)  # nothing may take these for embeddings
    head = read_json(scale.clone / "data/training/summary.json")["head"]
    return {"wide train": _usage(used["train"]) | {"width": width, "iterations": head["epochs"]}}


def slices(scale: Scale) -> Result:
    """Seconds an image of `embed` with the default parameters."""
    scale.change(*_defaults(), f"data.limit_per_class={scale.slice // 10}")
    few = scale.repro("embed")
    scale.change(f"data.limit_per_class={scale.slice // 2}")
    many = scale.repro("embed")
    seconds = many["embed"].seconds - few["embed"].seconds
    each = seconds / (2 * (scale.slice // 2 - scale.slice // 10))
    return {"slice embed": _usage(many["embed"]) | {"images": scale.slice, "each": each}}


STEPS: dict[str, Callable[[Scale], Result]] = {
    "data": data,
    "narrow": narrow,
    "nothing": nothing,
    "wide": wide,
    "slice": slices,
}


def _defaults() -> list[str]:
    """The parameters of the last commit that `NARROW` changes, as they are there; the weights stay
    random, which takes as long and needs no download."""
    values = read_yaml("params.yaml")
    found = []
    for item in NARROW:
        section, key = item.partition("=")[0].split(".")
        if key != "weights":
            found.append(f"{section}.{key}={json.dumps(values[section][key])}")
    return found


def _widths(path: Path) -> tuple[list[int], int]:
    """Channels of the layers that the default describes, and dimensions of the features."""
    chosen = params.load(path)
    tensorflow_setup.start(seed=0, precision="float32")
    model = mobilenet_v2.mobilenet(chosen.backbone.alpha, None)
    found = pooling.features(model, chosen.embed.layers, chosen.embed.statistics, 64)
    channels = [model.get_layer(name).output.shape[-1] for name in chosen.embed.layers]
    return channels, int(found.output_shape[-1])


def _noise(path: Path, labels: np.ndarray, views: int, width: int, dtype: np.dtype[Any]) -> None:
    """Noise (n, views, width), a block of it repeated, fakes with a shifted first tenth."""
    block = np.random.default_rng(0).normal(size=(256, views, width)).astype("f4")
    path.unlink()  # DVC's cache has a link to it
    with open(path, "wb") as file:
        header = {"descr": dtype.str, "fortran_order": False}
        header |= {"shape": (len(labels), views, width)}
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, len(labels), len(block)):
            part = labels[start : start + len(block)]
            rows = block[: len(part)].copy()
            rows[:, :, : width // 10] += 0.1 * part[:, None, None].astype("f4")
            file.write(rows.astype(dtype).tobytes())


def _stages(scale: Scale, used: dict[str, processes.Usage]) -> Result:
    """The usage of each stage that ran, `dvc` among them, with the bytes that it wrote."""
    stages = read_yaml(scale.clone / "dvc.yaml")["stages"]
    result = {}
    for name, usage in used.items():
        shown = "dvc" if name == processes.COMMAND else name
        result[shown] = _usage(usage)
        if name in stages:
            outs = [
                item if isinstance(item, str) else next(iter(item)) for item in stages[name]["outs"]
            ]
            result[shown]["written"] = sum(_size(scale.clone / item) for item in outs)
    whole = used[processes.COMMAND].seconds
    result["dvc"]["seconds"] = whole - sum(u.seconds for n, u in used.items() if n in stages)
    return result


def _usage(usage: processes.Usage) -> dict[str, Any]:
    return {"seconds": usage.seconds, "peak": usage.peak, "private": usage.private}


def _size(path: Path) -> int:
    files = [path] if path.is_file() else [item for item in path.rglob("*") if item.is_file()]
    return sum(item.stat().st_size for item in files)


@command
def main() -> None:
    parser = argparse.ArgumentParser(prog="make scale", description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[14_000, 140_000])
    parser.add_argument("--slice", type=int, default=1000, help="images that embed is timed on")
    parser.add_argument("--until", choices=list(STEPS), default=list(STEPS)[-1], help="last step")
    chosen = parser.parse_args()
    steps = list(STEPS)[: list(STEPS).index(chosen.until) + 1]
    results = begin({"machine": harness.machine(), "revision": git("rev-parse", "HEAD").strip()})
    for size in sorted(chosen.sizes):
        scale = Scale(size, chosen.slice, WORK / str(size))
        done = results["sizes"].setdefault(str(size), {})
        for step in steps:
            if step not in done:
                prepare(scale, fresh=not done)
                print(f"{size:,} images: {step} ...", flush=True)
                done[step] = STEPS[step](scale)
                write_json(RESULTS, results)
        if done.keys() == STEPS.keys():
            shutil.rmtree(scale.folder, ignore_errors=True)
    text = report(results)
    print(text)
    harness.put(PAGE, "scale", text)


def begin(facts: dict[str, Any]) -> dict[str, Any]:
    """The results so far, if they are of the same machine and code, else none."""
    results = read_json(RESULTS) if RESULTS.exists() else {}
    same = all(results.get(key) == value for key, value in facts.items())
    return results if same else {**facts, "sizes": {}}


def prepare(scale: Scale, *, fresh: bool) -> None:
    """See to it that archive and clone are there.

    Raises:
        PipelineError: too little room on the disk.
    """
    scale.folder.mkdir(parents=True, exist_ok=True)
    if not scale.archive.exists():
        free, needed = shutil.disk_usage(scale.folder).free, scale.size * BYTES_PER_PICTURE
        if free < needed:
            raise PipelineError(
                f"{scale.size:,} images need about {needed / 1e9:.0f} GB in {scale.folder}, "
                f"which has {free / 1e9:.0f} GB free"
            )
        print(f"{scale.size:,} images: writing the archive ...", flush=True)
        archive.write(scale.archive, scale.size)
    if fresh or not scale.clone.exists():
        shutil.rmtree(scale.clone, ignore_errors=True)
        source = ["data.source=folder", f"data.folder.path={scale.archive.resolve()}"]
        clones.clone(scale.clone, source)


def measured(steps: dict[str, Result]) -> dict[str, dict[str, float]]:
    """What each stage took, by its name, from the steps of one size; `dvc` itself in both runs."""
    found: dict[str, dict[str, float]] = {}
    for step in ("data", "narrow", "wide", "slice"):
        for name, usage in steps.get(step, {}).items():
            if name == "dvc" and name in found:
                former = found[name]
                usage = {
                    "seconds": former["seconds"] + usage["seconds"],
                    **{key: max(former[key], usage[key]) for key in ("peak", "private")},
                }
            found[name] = usage
    return found


def report(results: Result) -> str:
    """The table and what follows from it, as Markdown."""
    said = statements(results["sizes"], results["machine"]["cores"])
    return "\n\n".join([table(results["sizes"]), *said])


def table(sizes: dict[str, dict[str, Result]]) -> str:
    """Each stage at each size, and the growth from the first size to the last, as Markdown."""
    order = sorted(sizes, key=int)
    first, last = (measured(sizes[size]) for size in (order[0], order[-1]))
    heads = [f"{int(size):,}: time | memory (private) | written" for size in order]
    lines = [f"| stage | {' | '.join(heads)} | time, an image | memory | holds |"]
    lines.append("|---|" + "---:|" * (3 * len(order) + 2) + "---|")
    share = int(order[-1]) / int(order[0])
    for name in last:
        cells = [_cells(measured(sizes[size]).get(name)) for size in order]
        growth = ["–", "–"]
        if name in first and len(order) > 1:
            time = last[name]["seconds"] / first[name]["seconds"] / share
            growth = [f"{time:.2f}×", f"{last[name]['peak'] / first[name]['peak']:.2f}×"]
            if name == "slice embed":
                growth[0] = f"{last[name]['each'] / first[name]['each']:.2f}×"
        lines.append(f"| {name} | {' | '.join(cells + growth)} | {_verdict(name, first, last)} |")
    return "\n".join(lines)


def _cells(usage: dict[str, float] | None) -> str:
    if usage is None:
        return "– | – | –"
    written = f"{usage['written'] / 1e6:,.0f} MB" if "written" in usage else "–"
    memory = f"{usage['peak'] / 1e6:,.0f} MB ({usage['private'] / 1e6:,.0f})"
    return f"{usage['seconds']:,.1f} s | {memory} | {written}"


def _verdict(name: str, first: dict[str, Any], last: dict[str, Any]) -> str:
    """Whether a stage's memory is within the bound, and within `MAX_GROWTH` of the first size."""
    faults = []
    if last[name]["peak"] > MAX_BYTES:
        faults.append(f"above {MAX_BYTES / 1e9:g} GB")
    if name in first and last[name]["peak"] > MAX_GROWTH * first[name]["peak"]:
        faults.append("memory grows")
    return f"**no**: {', '.join(faults)}" if faults else "yes"


def statements(sizes: dict[str, dict[str, Result]], cores: int) -> list[str]:
    """What follows for the largest size: no-op, the full run, and what a GPU would leave."""
    size = max(sizes, key=int)
    steps, lines = sizes[size], []
    if "nothing" in steps:
        seconds = steps["nothing"]["seconds"]
        verdict = "yes" if seconds <= MAX_SECONDS else "**no**"
        lines.append(
            f"`dvc repro` with nothing to do at {int(size):,} images: {seconds:.2f} s "
            f"(required ≤ {MAX_SECONDS:g} s: {verdict})."
        )
    if {"data", "slice", "narrow"} <= steps.keys():
        each, found = steps["slice"]["slice embed"]["each"], measured(steps)
        embed = each * int(size)
        twice = {"slice embed", "embed"} | ({"train"} if "wide train" in found else set())
        others = sum(usage["seconds"] for name, usage in found.items() if name not in twice)
        lines.append(
            f"A full run at {int(size):,} images takes about {(embed + others) / 3600:.1f} h on "
            f"{cores} cores: embed {embed / 3600:.1f} h, at {1 / each:.0f} images a second; "
            f"everything else {others / 60:.0f} min."
        )
        floor = found["embed"]["seconds"]
        lines.append(
            "On a GPU, embed is limited by reading, decoding and resizing: "
            f"{floor / 60:.1f} min on these cores, {int(size) / floor:.0f} images a second, as "
            "measured with the smallest network. That is then the bottleneck."
        )
    return lines


if __name__ == "__main__":
    main()
