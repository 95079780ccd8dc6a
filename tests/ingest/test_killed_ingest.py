"""After `kill -9` of an ingest from Kaggle, the next run continues and writes the same bytes."""

import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import kaggle_server
from tests.support.kaggle_server import FILES, TOKEN, KaggleServer
from tests.support.making import content, image_file, run, settings, split_files, write, zip_bytes

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent.parent
KEY = ("some-one", "faces", 1)
CHUNK = 50_000
CODE = f"""
import sys
from tests.support import kaggle_server
kaggle_server.point_at(sys.argv[1])
from pathlib import Path
from deepfake.params import KaggleParams
from deepfake.sources import kaggle_client
from tests.support.making import run, settings
kaggle_client.CHUNK = {CHUNK}
source = KaggleParams(dataset="some-one/faces/1")
run(settings(source="kaggle", kaggle=source, shard_megabytes=1), Path("images"), seed=5)
"""
DOWNLOADING, PACKING, BETWEEN = 4, 3, 3
SHARDS = 6  # train 4, valid 1, test 1: each of 256 images at most


@pytest.fixture(scope="module")
def server() -> Iterator[KaggleServer]:
    counts = {"train": 400, "valid": 100, "test": 100}
    names = [
        f"{split}/{name}/{number}.png"
        for split, count in counts.items()
        for name in ("real", "fake")
        for number in range(count)
    ]
    archive = zip_bytes({name: image_file(number, 48) for number, name in enumerate(names)})
    with KaggleServer({KEY: archive}) as running:
        yield running


class Project:
    """A folder in which ingests run, with its own cache and the images of an earlier data set."""

    def __init__(self, path: Path, server: KaggleServer) -> None:
        self.path = path
        run(settings(write(path / "earlier", split_files(1))), path / "images")
        self.before = content(path / "images")
        (path / "home").mkdir()
        inherited = {k: v for k, v in os.environ.items() if k not in kaggle_server.VARIABLES}
        self._environment = inherited | {
            "DVC_ROOT": str(path),
            "HOME": str(path / "home"),
            "KAGGLE_API_TOKEN": TOKEN,
            "PYTHONPATH": str(ROOT),
        }
        self._command = [sys.executable, "-c", CODE, server.url]

    def start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self._command, env=self._environment, cwd=self.path, text=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )  # fmt: skip

    def images(self) -> dict[str, bytes]:
        """What is there: between the last two renames, under another name."""
        return content(self.path / "images") or content(self.path / ".former-images")

    def finish(self) -> dict[str, bytes]:
        process = self.start()
        printed = process.communicate()[1]
        assert process.returncode == 0, printed
        assert sorted(item.name for item in self.path.iterdir() if item.name[0] == ".") == []
        return content(self.path / "images")

    def kill_when(self, moment: Callable[[], bool]) -> bool:
        """Start an ingest and kill it at a moment; whether it was still running then."""
        process = self.start()
        while not moment() and process.poll() is None:
            time.sleep(0.0005)
        running = process.poll() is None
        process.kill()
        process.communicate()
        return running


@pytest.fixture(scope="module")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory, server: KaggleServer
) -> tuple[dict[str, bytes], Path, float]:
    """What an ingest writes, its cache, and the seconds that it takes from the download on."""
    path = tmp_path_factory.mktemp("undisturbed")
    project = Project(path, server)
    project.finish()
    shutil.rmtree(path / "images")
    started = time.monotonic()
    images = project.finish()
    assert len(images) == SHARDS + 3 + 1  # hashes of each split, and the report
    return images, path / "cache", time.monotonic() - started


@pytest.fixture
def project(tmp_path: Path, server: KaggleServer) -> Project:
    server.pace = None
    return Project(tmp_path, server)


@pytest.mark.parametrize("number", range(DOWNLOADING))
def test_while_downloading(
    number: int, project: Project, server: KaggleServer, undisturbed: Any
) -> None:
    size = len(server.archives[KEY])
    server.sent, server.pace = 0, 8_000_000
    stop = random.uniform(0, size)
    print(f"killed after {stop:.0f} of {size} bytes were sent")
    assert project.kill_when(lambda: server.sent >= stop)
    assert content(project.path / "images") == project.before
    server.requests.clear()
    server.pace = None
    assert project.finish() == undisturbed[0]
    resumed = [r.headers["Range"] for r in server.paths(FILES) if "Range" in r.headers]
    if stop > 0.3 * size:
        # What the client had written by then is not asked for again.
        assert int(resumed[0].removeprefix("bytes=").rstrip("-")) > stop - size / 4


@pytest.mark.parametrize("number", range(PACKING))
def test_while_packing(number: int, project: Project, undisturbed: Any) -> None:
    images, cache, seconds = undisturbed
    shutil.copytree(cache, project.path / "cache")
    started, wait = time.monotonic(), random.uniform(0.2, 1.1) * seconds
    print(f"killed {wait:.3f} s after the start; undisturbed, it takes {seconds:.3f} s")
    project.kill_when(lambda: time.monotonic() - started >= wait)
    assert project.images() in (project.before, images)
    assert project.finish() == images


@pytest.mark.parametrize("number", range(BETWEEN))
def test_between_shards(number: int, project: Project, undisturbed: Any) -> None:
    images, cache, _ = undisturbed
    shutil.copytree(cache, project.path / "cache")
    partial, shard = project.path / ".partial-images", random.randint(1, SHARDS - 1)
    print(f"killed after shard {shard} of {SHARDS}")
    assert project.kill_when(lambda: len(list(partial.glob("[!.]*.parquet"))) >= shard)
    assert content(project.path / "images") == project.before
    assert project.finish() == images
