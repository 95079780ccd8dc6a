"""Rebuild everything twice and compare every byte: `make verify`.

Two fresh clones of the last commit each run the whole pipeline with their own DVC cache, in folders
of different names and with different hash seeds and time zones. `--tolerance` is for another
machine, whose arithmetic rounds differently: one clone is run, and its metrics are compared with
the committed ones.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from deepfake.common.errors import PipelineError, command
from deepfake.common.files import read_yaml, sha256_file
from tools.clones import clone, environment
from tools.shell import git

METRICS = ("metrics/baseline.json", "metrics/image.json", "metrics/comparison.json")
_SURROUNDINGS = (
    ("first", {"PYTHONHASHSEED": "1", "TZ": "UTC"}),
    ("a second/place", {"PYTHONHASHSEED": "4242", "TZ": "Asia/Kolkata"}),
)


@command
def main() -> None:
    parser = argparse.ArgumentParser(prog="make verify", description=__doc__)
    parser.add_argument("-S", action="append", default=[], metavar="KEY=VALUE", dest="changes")
    parser.add_argument("--tolerance", type=float, help="compare metrics, not bytes")
    arguments = parser.parse_args()
    if git("status", "--porcelain"):
        print("note: this verifies the last commit, without the uncommitted changes")
    with tempfile.TemporaryDirectory() as folder:
        if arguments.tolerance is not None:
            rebuilt = build(Path(folder), *_SURROUNDINGS[0], arguments.changes)
            agree = compare_metrics(rebuilt, Path.cwd(), arguments.tolerance)
        else:
            clones = [build(Path(folder), *where, arguments.changes) for where in _SURROUNDINGS]
            agree = compare_outputs(*clones)
    if not agree:
        sys.exit(1)


def build(folder: Path, name: str, more: dict[str, str], changes: list[str]) -> Path:
    """Clone the repository to `folder / name` and run the pipeline there.

    Args:
        more: environment variables in addition to those of this process.
        changes: parameters to change, as `key=value`.

    Returns:
        The path of the clone.
    """
    made = clone(folder / name, changes)
    print(f"running the pipeline in {made}", flush=True)
    done = subprocess.run(["dvc", "repro"], cwd=made, env=environment() | more, check=False)
    if done.returncode:
        raise PipelineError(f"the pipeline failed in {made}")
    return made


def outputs(clone: Path) -> list[Path]:
    """List every file that the pipeline writes, and `dvc.lock`, relative to the clone.

    Outputs are the `outs`, `metrics` and `plots` of the stages; each item is a path, or a dict of a
    path and its options. The plots at the top level of `dvc.yaml` only say how to draw outputs.
    """
    stages = read_yaml(clone / "dvc.yaml")["stages"]
    files = [Path("dvc.lock")]
    for stage in stages.values():
        for item in (*stage.get("outs", ()), *stage.get("metrics", ()), *stage.get("plots", ())):
            path = clone / (item if isinstance(item, str) else next(iter(item)))
            inside = sorted(path.rglob("*")) if path.is_dir() else [path]
            files += [file.relative_to(clone) for file in inside if file.is_file()]
    return files


def compare_outputs(first: Path, second: Path) -> bool:
    """Print a table of the outputs of two clones; return whether all of them agree."""
    here, there = outputs(first), outputs(second)
    differing = []
    print("| output | bytes | agrees |\n|---|---:|---|")
    for path in sorted({*here, *there}):
        if path not in here or path not in there:
            size, verdict = 0, "no: only one run wrote it"
        else:
            size = (first / path).stat().st_size
            same = sha256_file(first / path) == sha256_file(second / path)
            verdict = "yes" if same else f"no: {difference(first / path, second / path)}"
        differing += [path] if verdict != "yes" else []
        print(f"| {path} | {size:,} | {verdict} |")
    total = len({*here, *there})
    print(f"{total - len(differing)} of {total} files agree, byte for byte")
    return not differing


def difference(first: Path, second: Path) -> str:
    """Say where two files first differ: the line of a text, the offset in any other file."""
    a, b = first.read_bytes(), second.read_bytes()
    at = next(
        (i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b))
    )
    if first.suffix in (".json", ".csv", ".lock", ".md", ".txt"):
        line = a[:at].count(b"\n")
        shown = [(text.splitlines()[line : line + 1] or [b""])[0].decode() for text in (a, b)]
        return f"line {line + 1}: `{shown[0].strip()}` and `{shown[1].strip()}`"
    return f"byte {at:,}"


def compare_metrics(rebuilt: Path, committed: Path, tolerance: float) -> bool:
    """Print the largest difference in each metrics file; return whether all are in `tolerance`.

    Raises:
        PipelineError: a file has other keys than the committed one.
    """
    worst = 0.0
    print("| metrics | largest difference | where |\n|---|---:|---|")
    for name in METRICS:
        mine, theirs = (
            _numbers(json.loads((root / name).read_text())) for root in (rebuilt, committed)
        )
        if mine.keys() != theirs.keys():
            raise PipelineError(f"{name} has other keys than the committed one")
        apart = {key: abs(mine[key] - theirs[key]) for key in mine}
        key = max(apart, key=lambda key: apart[key])
        worst = max(worst, apart[key])
        print(f"| {name} | {apart[key]:.6f} | {key} |")
    agree = worst <= tolerance
    print(f"the largest difference is {worst:.6f}: {'within' if agree else 'beyond'} {tolerance}")
    return agree


def _numbers(value: Any, prefix: str = "") -> dict[str, float]:
    """The numbers in nested dicts, by dotted key."""
    if isinstance(value, dict):
        parts = [_numbers(item, f"{prefix}{key}.") for key, item in value.items()]
        return {key: number for part in parts for key, number in part.items()}
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return {prefix.rstrip("."): float(value)} if number else {}


if __name__ == "__main__":
    main()
