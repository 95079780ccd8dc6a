"""`deepfake predict` on many files, against Keras's `predict` with the same network.

Images per second of both, the memory of `deepfake predict` over time, and the seconds that a single
file takes from the start of the process.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from deepfake.common import paths
from deepfake.common.errors import PipelineError, command
from deepfake.common.progress import shown
from deepfake.sources.portraits.render import render

DIFFERENT = 50  # images; the other files are further names of theirs
SAMPLES = 10  # of memory
SINGLE = 5  # runs with a single file, of which the median counts
PREDICT = [sys.executable, "-m", "deepfake.serving.cli", "predict"]


@dataclass
class Run:
    """Of `deepfake predict`.

    Attributes:
        seconds: from the start of the process to its end.
        rate: images per second from the first row on.
        memory: MB of resident memory, sampled at equal numbers of rows.
    """

    seconds: float
    rate: float
    memory: list[float]


def make_files(folder: Path, count: int, size: int) -> None:
    """Write JPEGs of portraits, `size` pixels each way, most of them as hard links."""
    for number in shown(range(min(count, DIFFERENT)), min(count, DIFFERENT), "draw", "images"):
        data = render(label=number % 2, seed=1, index=number, size=size)
        (folder / f"{number:06}.jpg").write_bytes(data)
    for number in range(DIFFERENT, count):
        os.link(folder / f"{number % DIFFERENT:06}.jpg", folder / f"{number:06}.jpg")


def ours(detector: Path, folder: Path, count: int) -> Run:
    """Run `deepfake predict` and count its rows as they come."""
    arguments = [str(folder), "--model", str(detector), "--format", "json"]
    memory: list[float] = []
    start = time.perf_counter()
    with subprocess.Popen([*PREDICT, *arguments], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        rows, first = 0, 0.0
        for rows, _ in enumerate(process.stdout, start=1):
            first = first or time.perf_counter()
            if rows % max(1, count // SAMPLES) == 0 and rows < count:
                memory.append(psutil.Process(process.pid).memory_info().rss / 1e6)
        last = time.perf_counter()
    if process.returncode or rows != count:
        raise PipelineError(f"deepfake predict scored {rows:,} of {count:,} files")
    return Run(time.perf_counter() - start, (count - 1) / (last - first), memory)


def keras(model: Path, folder: Path) -> Run:
    """Run `benchmarks.keras_predict`."""
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.keras_predict", str(model), str(folder)],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        raise PipelineError(f"Keras's predict failed:\n{done.stderr[-2000:]}")
    return Run(time.perf_counter() - start, float(done.stdout.split()[-1]), [])


def single(detector: Path, file: Path) -> float:
    """Seconds that the result of one file takes from the start of the process."""
    seconds = []
    for _ in range(SINGLE):
        start = time.perf_counter()
        subprocess.run(
            [*PREDICT, str(file), "--model", str(detector)], check=True, capture_output=True
        )
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


@command
def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.predict", description=__doc__)
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--size", type=int, default=256, help="of the images, in pixels")
    parser.add_argument("--detector", type=Path, default=paths.EXPORTED)
    parser.add_argument("--model", type=Path, default=paths.DETECTOR, help="its .keras file")
    chosen = parser.parse_args()
    for path in (chosen.detector, chosen.model):
        if not path.exists():
            raise PipelineError(f"{path} does not exist: run the pipeline first (`make repro`)")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_files(folder, chosen.files, chosen.size)
        run = ours(chosen.detector, folder, chosen.files)
        peer = keras(chosen.model, folder)
        seconds = single(chosen.detector, folder / "000000.jpg")
    print(f"{chosen.files:,} files of {chosen.size} x {chosen.size} pixels")
    print(f"deepfake predict: {run.rate:,.1f} images/s, {run.seconds:,.1f} s in all")
    print(f"Keras's predict:  {peer.rate:,.1f} images/s, {peer.seconds:,.1f} s in all")
    print(f"ratio:            {run.rate / peer.rate:.2f} (in all {peer.seconds / run.seconds:.2f})")
    print(f"memory, MB:       {', '.join(f'{mb:,.0f}' for mb in run.memory)}")
    print(f"a single file:    {seconds:.2f} s")


if __name__ == "__main__":
    main()
