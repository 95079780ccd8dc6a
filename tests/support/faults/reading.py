"""What can go wrong while a data set is read, whatever each of its files is like."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.support.faults.cases import ERROR, HANDLED, Attack
from tests.support.making import encoded, settings, split_files, write

READ_ALL = """
import sys
from deepfake.ingest.ingest import read_all
from deepfake.ingest.planning import make_plan
from deepfake.sources import open_source
from tests.support.making import settings
from tests.support.memory import peak

params = settings(sys.argv[1])
with open_source(params, 1) as source:
    read = sum(1 for _ in read_all(source, make_plan(source, params, 1).placed))
gigabytes = peak() / 1e3
print(read, "images in less than 1 GB" if gigabytes < 1 else f"images in {gigabytes:.2f} GB")
"""
INTERRUPTED = """
import time
from deepfake.common.errors import command
from deepfake.common.threads import ordered

def call(number):
    print(number, flush=True)
    time.sleep(600)

@command
def main():
    list(ordered(call, range(99)))

main()
"""


def large_files(place: Path) -> str:
    """Nine files of 62 MB behind an image of 62 megapixels, which takes longer than they."""
    folder = write(place / "data", split_files(1))
    large = encoded(Image.new("RGB", (8000, 7750)), "JPEG")
    (folder / "train/fake/0.jpg").write_bytes(large)
    small = encoded(Image.new("RGB", (64, 64)), "JPEG")
    for number in range(9):
        path = folder / f"train/fake/{number + 1:02}.jpg"
        path.write_bytes(small)
        os.truncate(path, 62_000_000 + number)  # a hole, which takes no room
    return subprocess.check_output([sys.executable, "-c", READ_ALL, folder], text=True)


def interrupt(place: Path) -> str:
    """Ctrl-C while every thread is in a call that takes ten minutes."""
    with subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout
        process.stdout.read(1)  # a thread has begun
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    return f"{errors.decode()}exit status {process.returncode}"


def both_classes(place: Path) -> str:
    """A name of `real` that is also one of `fake`, for those who compare without case."""
    with pytest.raises(ValueError, match="mean both") as caught:
        settings(place, real=["\u017fynthetic"], fake=["synthetic"])
    return str(caught.value)


READING = [
    Attack(
        "files of 62 MB behind an image of 62 megapixels", HANDLED,
        ("16 images in less than 1 GB",), large_files,
        "100 MB of files and pixels are read and decoded ahead, and large images are decoded one "
        "at a time.",
    ),
    Attack(
        "Ctrl-C while threads read and decode", ERROR, ("interrupted", "exit status 130"),
        interrupt, "At once, with this line alone.",
    ),
    Attack(
        "a class name under both labels, once as `\u017fynthetic`", ERROR,
        ("names that mean both real and fake: ['synthetic']",), both_classes,
        "Names are compared as they are when images are read: in any case and form of Unicode.",
    ),
]  # fmt: skip
