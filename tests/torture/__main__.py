"""Attack the project for an hour or more: `make torture`.

Feeds many inputs that nobody thought of to everything that reads what comes from outside, stops
whole runs at random moments, and writes the figures into docs/faults.md.
"""

import argparse
import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Sequence

from deepfake.common.progress import shown
from tests.torture.fuzz import ROOT, TARGETS, Failed, Figures, fuzz
from tests.torture.kills import SIGNALS, Kill, small, torment

PAGE = ROOT / "docs" / "faults.md"
BEGIN, END = "<!-- torture -->\n", "<!-- end of torture -->\n"
KEEP = ROOT / "cache" / "torture"
STAGES = (
    "check", "ingest", "metadata", "external", "baseline", "backbone", "embed", "train",
    "evaluate", "compare", "export", "dvc",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(prog="make torture", description=__doc__)
    parser.add_argument(
        "--inputs", type=int, default=100_000, help="of each kind, or a share of it"
    )
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=None, help="default: a new one")
    arguments = parser.parse_args()
    seed = int.from_bytes(os.urandom(3)) if arguments.seed is None else arguments.seed
    print(f"seed {seed}: `make torture SEED={seed}` does the same again", flush=True)
    faults: list[str] = []
    figures = [one for name in TARGETS if (one := fed(name, arguments.inputs, seed, faults))]
    kills = killed(arguments.kills, seed, faults)
    tables = f"{fuzz_table(figures)}\n{kill_table(kills)}"
    print(f"\n{tables}")
    if faults:
        sys.exit("\n".join(["found:", *faults]))
    PAGE.write_text(documented(PAGE.read_text(encoding="utf-8"), tables), encoding="utf-8")
    print(f"written into {PAGE}")


def fed(name: str, inputs: int, seed: int, faults: list[str]) -> Figures | None:
    """Feed one target; a fault is added to the list, and the torture goes on."""
    if not inputs:
        return None
    try:
        return fuzz(name, inputs, seed, KEEP)
    except Failed as fault:
        faults.append(str(fault))
        return None


def killed(kills: int, seed: int, faults: list[str]) -> list[Kill]:
    """Stop runs; a fault is added to the list, and ends this. Its clone stays."""
    done: list[Kill] = []
    if not kills:
        return done
    place = KEEP / "kills"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    undisturbed, started = small(place / "undisturbed"), time.monotonic()
    undisturbed.run("dvc", "repro")
    longest = (time.monotonic() - started) / 2
    lock = (undisturbed.path / "dvc.lock").read_bytes()
    try:
        for kill in shown(torment(place, lock, kills, seed, longest), kills, "kills", "kills"):
            done.append(kill)
    except AssertionError as fault:
        faults.append(f"after {done} in {place}: {fault}")
    else:
        shutil.rmtree(place)
    return done


def fuzz_table(figures: Sequence[Figures]) -> str:
    """What the inputs took, as a table."""
    rows = "".join(
        f"| {one.target} | {one.inputs:,} | {one.seconds:,.0f} s | {one.slowest:.2f} s | "
        f"{one.megabytes:.0f} MB |\n"
        for one in figures
    )
    head = "| kind | inputs | all together | the slowest | memory, at most |\n"
    return f"{head}|---|---:|---:|---:|---:|\n{rows}"


def kill_table(kills: Sequence[Kill]) -> str:
    """How often which stage was stopped by which signal, as a table."""
    count = Counter((kill.stage, kill.signal) for kill in kills)
    rows = "".join(
        f"| {f'`{stage}`' if stage != 'dvc' else 'DVC, between stages'} | "
        + " | ".join(str(count[stage, name]) for name in SIGNALS)
        + " |\n"
        for stage in STAGES
    )
    total = " | ".join(str(sum(count[stage, name] for stage in STAGES)) for name in SIGNALS)
    return (
        f"| stopped in | {' | '.join(SIGNALS)} |\n|---|---:|---:|---:|\n{rows}| all | {total} |\n"
    )


def documented(page: str, tables: str) -> str:
    """The page with the tables in their place."""
    before, rest = page.split(BEGIN)
    after = rest.split(END)[1]
    return f"{before}{BEGIN}\n{tables}\n{END}{after}"


if __name__ == "__main__":
    main()
