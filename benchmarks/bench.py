"""Side by side with plain Keras, on one machine and one set of images: `make bench`.

Each comparison is measured in pairs, the peer's side (`benchmarks/peer.py`) and then ours, each in
processes of its own. Ours is the `dvc` command line in a fresh clone of the last commit, with a DVC
cache and an MLflow store of its own; or, for throughput alone, the library (`benchmarks/ours.py`).
Writes `benchmarks/results.json` after each pair, and at the end the table into docs/speed.md
and `docs/bench.png`.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import harness, images
from benchmarks.harness import Comparison, Measurement
from benchmarks.processes import timed
from deepfake.common.errors import command
from deepfake.common.files import read_json
from deepfake.sources import open_source
from tools import clones, shell
from tools.shell import git

RESULTS, CHART = Path("benchmarks/results.json"), Path("docs/bench.png")
PAGE = Path("docs/speed.md")
FIRST_TRIAL = 0.021  # of train.weight_decay; each repetition takes another, so none is cached

COMPARISONS = [
    Comparison(
        "statistics", "images to scores, statistics model", "s",
        peer=("peer recipe", "seconds"), ours=("pipeline, statistics", "seconds"),
        at_least=5, roc_auc=0.15,
    ),
    Comparison(
        "last-layer", "images to scores, the peer's features", "s",
        peer=("peer recipe", "seconds"), ours=("pipeline, last layer", "seconds"),
        roc_auc=-0.01,
    ),
    Comparison(
        "head", "another head: train and evaluate", "s",
        peer=("peer recipe", "seconds"), ours=("pipeline, statistics", "head_seconds"),
    ),
    Comparison(
        "experiment", "another head: whole `dvc exp run`", "s",
        peer=("peer recipe", "seconds"), ours=("pipeline, statistics", "experiment_seconds"),
        at_least=10, at_most=20,
    ),
    Comparison(
        "nothing", "nothing to do: `dvc repro`", "s",
        ours=("pipeline, statistics", "nothing_seconds"), at_most=2,
    ),
    Comparison(
        "embed", "embedding, the peer's features", "images/s",
        peer=("peer predict", "rate"), ours=("embed, last layer", "rate"),
    ),
    Comparison(
        "limit", "embedding, defaults, against the engine's limit", "images/s",
        peer=("embed, defaults", "limit_rate"), ours=("embed, defaults", "rate"), at_least=0.85,
    ),
    Comparison(
        "limit-last-layer", "embedding, the peer's features, against the engine's limit",
        "images/s",
        peer=("embed, last layer", "limit_rate"), ours=("embed, last layer", "rate"),
    ),
    Comparison(
        "fit", "fine-tuning everything", "images/s",
        peer=("peer fit, all", "rate"), ours=("fine-tune, all", "rate"),
    ),
    Comparison(
        "fit-13", "fine-tuning from block_13_expand", "images/s",
        peer=("peer fit, 13", "rate"), ours=("fine-tune, 13", "rate"),
    ),
    Comparison(
        "fit-13-total", "the same, all epochs, caches filled", "s",
        peer=("peer fit, 13", "seconds"), ours=("fine-tune, 13", "seconds"),
    ),
]  # fmt: skip

# The statistics model for those in a hurry: mean and standard deviation of five layers, one view,
# smaller images.
MODEL = [
    "backbone.image_size=320",
    "embed.views=[original]",
    f"embed.layers=[{','.join(f'block_{number}_expand_relu' for number in range(6, 11))}]",
    "embed.pooling=mean_std",
    "train.weight_decay=0.02",
]
# The peer's recipe in our parameters: its features, head and epochs.
LAST_LAYER = [
    "backbone.image_size=224",
    "embed.layers=[out_relu]",
    "embed.pooling=average",
    "embed.views=[original]",
    "train.hidden=[128]",
    "train.weight_decay=0",
    "train.batch_size=32",
    "train.epochs=10",
    "train.patience=10",
    "train.schedule=constant",
]
NO_AUGMENTATION = [
    "train.fine_tune.augment.flip=false",
    *(f"train.fine_tune.augment.{k}=0.0" for k in ("rotation", "zoom", "shift", "contrast")),
    "train.fine_tune.augment.jpeg=0.0",
]


@dataclass
class Bench:
    """What every measurement needs to know.

    Attributes:
        folder: temporary place, with `images/` and `few/` as plain folders and as shards.
        weights: imagenet or random.
        changes: parameters of the statistics model.
        repetition: number of the pair, from 0.
        fit_epochs, fit_size, fit_batch: of fine-tuning.
    """

    folder: Path
    weights: str
    changes: list[str]
    repetition: int = 0
    fit_epochs: int = 4
    fit_size: int = 224
    fit_batch: int = 16
    measured: dict[str, Measurement] = field(default_factory=dict)

    def measure(self, name: str) -> Measurement:
        print(f"[{self.repetition + 1}] {name} ...", end=" ", flush=True)
        result = MEASUREMENTS[name](self)
        self.measured[name] = result
        shown = {k: v for k, v in result.items() if isinstance(v, int | float)}
        print(", ".join(f"{key} {value:.4g}" for key, value in shown.items()), flush=True)
        return result

    def source(self) -> list[str]:
        return [
            "data.source=folder",
            f"data.folder.path={self.folder / 'images'}",
            f"backbone.weights={self.weights}",
        ]


def peer(bench: Bench, what: str, image_files: str, *arguments: str) -> Measurement:
    """The peer in a process of its own; `seconds` are those of the whole process where it does not
    say others."""
    start = time.perf_counter()
    result = _json(
        bench, "benchmarks.peer", what, str(bench.folder / image_files),
        "--weights", bench.weights, *arguments,
    )  # fmt: skip
    return {"seconds": time.perf_counter() - start} | result


def ours(bench: Bench, what: str, shards: str, changes: list[str]) -> Measurement:
    """Our library in a process of its own."""
    arguments = [f"-S{item}" for item in [*changes, f"backbone.weights={bench.weights}"]]
    return _json(bench, "benchmarks.ours", what, str(bench.folder / shards), *arguments)


def _json(bench: Bench, module: str, *arguments: str) -> Measurement:
    command = (sys.executable, "-m", module, *arguments)
    printed = shell.run(*command, environment=clones.environment())
    return dict(json.loads(printed.splitlines()[-1]))


def throughput(measured: Measurement) -> Measurement:
    """With `rate`, and `limit_rate` where there is a limit, in images a second."""
    found = {"rate": measured["images"] / measured["seconds"]}
    if "limit_seconds" in measured:
        found["limit_rate"] = measured["images"] / measured["limit_seconds"]
    return measured | found


def epochs(measured: Measurement) -> Measurement:
    """With `rate`, in images a second of the epochs after the first, which compiles and fills
    caches, and `seconds` of all."""
    seconds = measured["seconds"]
    rate = measured["images"] * (len(seconds) - 1) / sum(seconds[1:])
    return measured | {"rate": rate, "seconds": sum(seconds), "first_seconds": seconds[0]}


def fit(bench: Bench, from_layer: str) -> Measurement:
    arguments = {
        "--size": bench.fit_size, "--batch": bench.fit_batch, "--epochs": bench.fit_epochs,
        "--from-layer": from_layer,
    }  # fmt: skip
    flat = [str(item) for pair in arguments.items() for item in pair]
    return epochs(peer(bench, "fit", "few", *flat))


def fine_tune(bench: Bench, from_layer: str) -> Measurement:
    changes = [
        *LAST_LAYER,
        *NO_AUGMENTATION,
        f"backbone.image_size={bench.fit_size}",
        "backbone.precision=float32",
        f"train.fine_tune.epochs={bench.fit_epochs}",
        f"train.fine_tune.patience={bench.fit_epochs}",
        f"train.fine_tune.batch_size={bench.fit_batch}",
        f"train.fine_tune.from_layer={from_layer}",
    ]
    return epochs(ours(bench, "fine-tune", "few-shards", changes))


def last_layer(bench: Bench) -> Measurement:
    """The pipeline in a fresh clone, up to test scores, with the peer's features and head."""
    with tempfile.TemporaryDirectory(dir=bench.folder) as place:
        clone = _clone(Path(place) / "clone", [*bench.source(), *LAST_LAYER])
        return _scored(clone, timed(clone, "dvc", "repro", "evaluate"))


def statistics(bench: Bench) -> Measurement:
    """The pipeline in a fresh clone, up to test scores; then nothing to do, then another head."""
    with tempfile.TemporaryDirectory(dir=bench.folder) as place:
        clone = _clone(Path(place) / "clone", [*bench.source(), *bench.changes])
        result = _scored(clone, timed(clone, "dvc", "repro", "evaluate"))
        timed(clone, "dvc", "repro")
        result["nothing_seconds"] = timed(clone, "dvc", "repro")
        timed(clone, "git", "add", "-A")
        timed(clone, "git", "commit", "-qm", "all stages")
        other = f"train.weight_decay={FIRST_TRIAL + 0.001 * bench.repetition:.3f}"
        result["experiment_seconds"] = timed(clone, "dvc", "exp", "run", "-n", "other", "-S", other)
        result["head_seconds"] = sum(
            timed(clone, sys.executable, "-m", f"stages.{stage}") for stage in ("train", "evaluate")
        )
        return result


def _clone(path: Path, changes: list[str]) -> Path:
    clones.clone(path, [*changes, "train.fine_tune.epochs=0"])
    for key, value in {"name": "Benchmark", "email": "benchmark@example.org"}.items():
        timed(path, "git", "config", f"user.{key}", value)
    return path


def _scored(clone: Path, seconds: float) -> Measurement:
    test = read_json(clone / "metrics/image.json")["test"]
    return {"seconds": seconds, "roc_auc": test["roc_auc"], "accuracy": test["accuracy"]}


MEASUREMENTS: dict[str, Callable[[Bench], Measurement]] = {
    "peer recipe": lambda bench: peer(bench, "recipe", "images"),
    "pipeline, statistics": statistics,
    "pipeline, last layer": last_layer,
    "peer predict": lambda bench: throughput(peer(bench, "predict", "images")),
    "embed, last layer": lambda bench: throughput(ours(bench, "embed", "shards", LAST_LAYER)),
    "embed, defaults": lambda bench: throughput(ours(bench, "embed", "shards", [])),
    "peer fit, all": partial(fit, from_layer="all"),
    "fine-tune, all": partial(fine_tune, from_layer="all"),
    "peer fit, 13": partial(fit, from_layer="block_13_expand"),
    "fine-tune, 13": partial(fine_tune, from_layer="block_13_expand"),
}


@command
def main() -> None:
    names = [comparison.name for comparison in COMPARISONS]
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--data", type=Path, help="a zip or folder of images (none: the sample)")
    parser.add_argument("--repetitions", type=int, default=3, help="pairs of each comparison")
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME")
    parser.add_argument("--resume", action="store_true", help="go on with an interrupted bench")
    parser.add_argument("--weights", choices=["imagenet", "random"], default="imagenet")
    parser.add_argument(
        "--model", nargs="+", default=MODEL, metavar="KEY=VALUE", help="the statistics model"
    )
    parser.add_argument("--fit-images", type=int, default=400, help="for fine-tuning, all splits")
    chosen = parser.parse_args()
    wanted = [comparison for comparison in COMPARISONS if comparison.name in chosen.only]
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), chosen.weights, chosen.model)
        facts = prepare(bench, chosen.data, chosen.fit_images)
        results = harness.Results(RESULTS, facts)
        compare(bench, wanted, results, chosen.repetitions, resume=chosen.resume)
    report(results)


def prepare(bench: Bench, data: Path | None, fit_images: int) -> dict[str, Any]:
    """Unpack and pack the images; returns the facts that results depend on."""
    found = images.settings(data)
    with open_source(found.data, found.seed) as source:
        digest = source.describe()["sha256"]
    for name, limit, shards in (("images", None, "shards"), ("few", fit_images, "few-shards")):
        folder = bench.folder / name
        # A folder unpacked already is the same images without drawing them again.
        whole = found if limit is None else images.settings(bench.folder / "images", limit // 2)
        count = images.unpack(whole, folder)
        images.pack(images.settings(folder), bench.folder / shards)
        print(f"{name}: {count}", flush=True)
        if limit is None:
            total = count
    return {
        "machine": harness.machine(),
        "images": total,
        "source_sha256": digest,
        "weights": bench.weights,
        "statistics_model": bench.changes,
        "fine_tuning": {
            "images": count, "size": bench.fit_size, "batch": bench.fit_batch,
            "epochs": bench.fit_epochs,
        },
    }  # fmt: skip


def compare(
    bench: Bench,
    wanted: Iterable[Comparison],
    results: harness.Results,
    repetitions: int,
    *,
    resume: bool,
) -> None:
    """Measure `wanted` until each has `repetitions` pairs. What several of them need is measured
    once a repetition."""
    revision = git("rev-parse", "--short", "HEAD").strip()
    done = {c.name: results.begin(c, revision, resume=resume) for c in wanted}
    for repetition in range(repetitions):
        bench.repetition, bench.measured = repetition, {}
        for comparison in wanted:
            if done[comparison.name] > repetition:
                continue
            for side in (comparison.peer, comparison.ours):
                if side and side[0] not in bench.measured:
                    bench.measure(side[0])
            pair = comparison.pair(bench.measured)
            assert pair is not None
            results.add(comparison, pair)


def ordered(rows: dict[str, Any]) -> dict[str, Any]:
    """`rows` in the order of `COMPARISONS`."""
    return {c.name: rows[c.name] for c in COMPARISONS if c.name in rows}


def report(results: harness.Results) -> None:
    """Print the table, put it into docs/speed.md, and draw the chart, of all results so far."""
    rows = ordered(results.complete())
    print(harness.table(rows))
    harness.put(PAGE, "bench", harness.table(rows))
    title = f"{results.facts['images']:,} images, {results.facts['machine']['cores']} cores"
    against_keras = {name: row for name, row in rows.items() if not name.startswith("limit")}
    harness.chart(CHART, against_keras, title)


if __name__ == "__main__":
    main()
