"""`kill -9` of a stage at a random moment: the next `dvc repro` ends as an undisturbed run does."""

import random
import shutil
import signal
import time

import psutil
import pytest
import yaml

pytestmark = pytest.mark.slow

STAGES = [
    "ingest", "metadata", "external", "baseline",
    "backbone", "embed", "train", "evaluate", "compare",
]  # fmt: skip
SECONDS = 6.0  # a stage of the shrunk pipeline takes about so long, its imports included


@pytest.fixture(scope="module")
def made(computed_clone):
    return computed_clone


def forget(clone, stage):
    """Make DVC run a stage again: as if its outputs had never been right, nor kept."""
    lock = clone.path / "dvc.lock"
    values = yaml.safe_load(lock.read_text())
    for item in values["stages"][stage]["outs"]:
        path = clone.path / item["path"]
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        item["md5"] = "0" * 32
    lock.write_text(yaml.safe_dump(values, sort_keys=False))
    shutil.rmtree(clone.path / ".dvc/cache/runs", ignore_errors=True)


@pytest.mark.parametrize("stage", STAGES)
def test_killed_stage(made, stage):
    lock = (made.path / "dvc.lock").read_bytes()
    forget(made, stage)
    process = made.start("dvc", "repro")
    while not (running := made.children(process, f"stages.{stage}")):
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.02)
    moment = random.uniform(0, SECONDS)
    print(f"killed {moment:.2f} s after its start")
    time.sleep(moment)
    for child in running:
        try:
            child.send_signal(signal.SIGKILL)
        except psutil.NoSuchProcess:
            print("it had ended by then")
    process.communicate()
    made.run("dvc", "repro")
    assert (made.path / "dvc.lock").read_bytes() == lock
    assert made.run("dvc", "status").strip().endswith("up to date.")
