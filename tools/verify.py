"""Rebuild everything twice and compare every byte: `make verify`.

Two fresh clones of the last commit each run the whole pipeline with their own DVC cache, in folders
of different names and with different hash seeds and time zones. `--tolerance` is for another
machine, whose arithmetic rounds differently: one clone is run, and its metrics are compared with
the committed ones.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from deepfake import params
from deepfake.common.errors import PipelineError, command
from deepfake.common.files import read_yaml, sha256_file
from deepfake.common.yaml12 import parse_yaml
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


def clone(path: Path, changes: list[str]) -> Path:
    """Clone the repository's last commit to `path`, without `dvc.lock` and with other parameters.

    The clone has its own DVC cache and MLflow store.

    Args:
        changes: parameters to change, as `key=value`.

    Returns:
        `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    git("clone", "--quiet", "--no-hardlinks", str(Path.cwd()), str(path))
    (path / "dvc.lock").unlink(missing_ok=True)  # no stage counts as done
    change(path / "params.yaml", changes)
    params.load(path / "params.yaml")
    return path


def environment() -> dict[str, str]:
    """The environment for commands in a clone: this one, without what names this repository."""
    left_out = ("MLFLOW_TRACKING_URI", "DVC_ROOT", "DVC_EXP_NAME", "DVC_EXP_BASELINE_REV")
    inherited = {key: value for key, value in os.environ.items() if key not in left_out}
    if home := inherited.get("KERAS_HOME"):
        inherited["KERAS_HOME"] = str(Path(home).resolve())
    return inherited


def change(path: Path, changes: list[str]) -> None:
    """Set `key=value` pairs, as for `dvc exp run -S`, in a file of parameters.

    Raises:
        PipelineError: an item is not `key=value`, or the file has no such key.
    """
    values = read_yaml(path)
    for item in changes:
        key, equals, text = item.partition("=")
        try:
            value = parse_yaml(text)
        except ValueError as error:
            raise PipelineError(f"-S {item}: {error}") from None
        if key in ("data.folder.path", "evaluate.external"):
            value = _from_here(value)
        if not equals or not assign(values, key, value):
            raise PipelineError(f"-S {item}: expected KEY=VALUE with a key of params.yaml")
    if changes:
        # Every JSON document is YAML 1.2 of the same values.
        path.write_text(json.dumps(values, indent=2, ensure_ascii=False), encoding="utf-8")


def _from_here(value: Any) -> Any:
    """A path, or each of a list of paths or of sections with a `path`, as an absolute path."""
    if isinstance(value, list):
        return [_from_here(one) for one in value]
    if isinstance(value, dict):
        return {**value, "path": _from_here(value["path"])} if "path" in value else value
    return str(Path(value).resolve())


def assign(values: dict[str, Any], key: str, value: Any) -> bool:
    """Set a dotted key in nested dicts; return False, and set nothing, if there is no such key."""
    *sections, last = key.split(".")
    section: Any = values
    for part in sections:
        section = section.get(part) if isinstance(section, dict) else None
    if not isinstance(section, dict) or last not in section:
        return False
    section[last] = value
    return True


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
