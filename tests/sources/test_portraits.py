"""The sample's portraits: the same everywhere, and nothing about the label outside the pixels."""

import hashlib
import io
import os
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

from deepfake.sources.portraits import manipulations
from deepfake.sources.portraits.camera import photograph
from deepfake.sources.portraits.manipulations import MANIPULATIONS, manipulate
from deepfake.sources.portraits.portrait import draw_portrait
from deepfake.sources.portraits.render import contact_sheet, streams
from deepfake.sources.portraits.render import render as render_portrait

# Of the versions of NumPy and Pillow that requirements.txt pins. A change here changes the sample,
# and with it every number that is quoted for it.
PINNED = [
    (
        {"label": 0, "seed": 0, "index": 0},
        "6f679b5efe6619c3f87184ea3d44c419219ade12e676114bfa158153cdf5c2bb",
    ),
    (
        {"label": 1, "seed": 0, "index": 0},
        "afbbe985c14c91a35e9b951ac972e7f4fe86e34f0ea0011aac7dbf093ae75946",
    ),
    (
        {"label": 1, "seed": 20261121, "index": 10_000_003, "size": 192},
        "00a183b475e888602e12d00c148fafe051b344585d8cf5a9f15011d57f7ca68c",
    ),
    (
        {"label": 0, "seed": 2**32 - 1, "index": 7, "size": 97},
        "8a10fc851b0c6e630095267ef8cbe239aed7e786816f79bd650fbc1217c9e9e9",
    ),
    (
        {"label": 1, "seed": 3, "index": 7, "size": 64, "strength": 0.5},
        "d59188577d1a8799f313e75e41f5f132f07f16a6dea3c74c4b691e1a8c7a57a9",
    ),
]
SIZE = 128  # of the images of the tests below: a quarter of the time


@cache
def render(label: int, index: int, strength: float = 1.0) -> bytes:
    return render_portrait(label=label, seed=1, index=index, size=SIZE, strength=strength)


def opened(data: bytes) -> Any:
    return Image.open(io.BytesIO(data))


def digest(arguments: dict[str, Any]) -> str:
    return hashlib.sha256(render_portrait(**arguments)).hexdigest()


@pytest.mark.parametrize(("arguments", "expected"), PINNED)
def test_bytes_are_those_that_were_pinned(arguments: dict[str, Any], expected: str) -> None:
    assert digest(arguments) == expected


def test_bytes_do_not_depend_on_process_or_order() -> None:
    jobs = [arguments for arguments, _ in PINNED]
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        elsewhere = list(pool.map(digest, jobs[::-1]))[::-1]
    np.random.seed(5)  # global state must not matter
    assert [digest(job) for job in jobs] == elsewhere


@pytest.mark.parametrize("size", [64, 97, 200, 256])
@pytest.mark.parametrize("label", [0, 1])
def test_is_a_plain_jpeg_of_the_size_asked_for(label: int, size: int) -> None:
    image_file = opened(render_portrait(label=label, seed=2, index=4, size=size))
    assert (image_file.format, image_file.mode, image_file.size) == ("JPEG", "RGB", (size, size))
    assert not image_file.getexif()
    assert np.asarray(image_file).std() > 10


def test_every_image_is_another_one() -> None:
    drawn = {render(label, index) for label in (0, 1) for index in range(10)}
    drawn.add(render_portrait(label=0, seed=2, index=0, size=SIZE))
    assert len(drawn) == 21


def test_strength_changes_fakes_only() -> None:
    assert render(0, 3, 0.5) == render(0, 3, 2.0)
    assert render(1, 3, 0.5) != render(1, 3, 2.0)


def test_manipulations_stay_inside_the_face() -> None:
    for index in range(8):
        scene, camera, forger, _ = streams(1, 1, index)
        planes, face = draw_portrait(scene, SIZE)
        before = photograph(planes, camera)
        after = manipulate(before, face, forger, 1.0)
        changed = np.abs(after - before).max(axis=0)
        assert 0.1 < (face > 0).mean() < 0.5
        assert changed[face == 0].max() == 0.0
        assert (changed[face == 1] > 0).mean() > 0.99


@pytest.mark.parametrize("name", MANIPULATIONS)
def test_each_manipulation_grows_with_strength(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    chances = {other: float(other == name) for other in MANIPULATIONS}
    monkeypatch.setattr(manipulations, "FREQUENCY", chances)
    scene, camera, _, _ = streams(1, 1, 0)
    planes, face = draw_portrait(scene, SIZE)
    before = photograph(planes, camera)

    def change(strength: float) -> float:
        forger = np.random.default_rng(8)
        after = manipulate(before, face, forger, strength)
        return float(np.sqrt(np.mean((after - before) ** 2)))

    assert 0.0 < change(0.1) < change(0.5) < change(1.0)


def test_metadata_does_not_give_the_label_away() -> None:
    """Seeded, so not a matter of luck: 2 standard errors of an AUC of 0.5 are 0.09 here."""
    files = {label: [render(label, index) for index in range(80)] for label in (0, 1)}
    labels = np.repeat([0, 1], 80)
    size = [len(data) for label in (0, 1) for data in files[label]]
    tables = [opened(data).quantization[0] for label in (0, 1) for data in files[label]]
    quality = [-sum(table) for table in tables]
    chroma = [opened(data).layer[0][1:3] for label in (0, 1) for data in files[label]]
    for values in (size, quality, [across * down for across, down in chroma]):
        assert abs(roc_auc_score(labels, values) - 0.5) < 0.09
    assert len(set(chroma)) == 3
    assert len(set(quality)) > 10


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"label": 2}, "`label=2`"),
        ({"seed": -1}, "`seed=-1`"),
        ({"seed": 1.5}, r"`seed=1\.5`"),
        ({"index": -3}, "`index=-3`"),
        ({"size": 32}, "`size=32`"),
        ({"size": 128.0}, r"`size=128\.0`"),
        ({"size": 2048}, "`size=2048`"),
        ({"strength": 0.0}, r"`strength=0\.0`"),
        ({"strength": 9}, "`strength=9`"),
        ({"strength": float("nan")}, "`strength=nan`"),
    ],
)
def test_arguments_out_of_range_are_named(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"Received {message}"):
        render_portrait(**{"label": 0, "seed": 0, "index": 0, **wrong})


def test_contact_sheet_has_reals_above_fakes() -> None:
    sheet = contact_sheet(1, 2, seed=1, size=256)
    assert sheet.size == (512, 512)
    for label in (0, 1):
        tile = np.asarray(sheet)[label * 256 : label * 256 + 256, 256:]
        expected = opened(render_portrait(label=label, seed=1, index=1))
        assert np.array_equal(tile, np.asarray(expected))


DRAW = """
import time
from deepfake import params
from deepfake.sources.sample import SampleSource
if __name__ == "__main__":
    with SampleSource(params.load(PARAMS).data.sample, 1) as source:
        source.read(source.offer().entries[0])
        print("drawn", flush=True)
        time.sleep(60)
"""


@pytest.mark.slow
def test_processes_that_draw_end_with_the_one_that_is_killed(tmp_path: Path) -> None:
    root = Path(__file__).parent.parent.parent
    script = tmp_path / "draw.py"
    script.write_text(DRAW.replace("PARAMS", repr(str(root / "params.yaml"))))
    drawing = subprocess.Popen(
        [sys.executable, script],
        env={**os.environ, "PYTHONPATH": str(root)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert drawing.stdout is not None
    assert drawing.stdout.readline() == "drawn\n"
    workers = psutil.Process(drawing.pid).children()
    assert any("spawn_main" in " ".join(worker.cmdline()) for worker in workers)
    drawing.kill()
    drawing.wait()
    gone, alive = psutil.wait_procs(workers, timeout=20)
    assert gone
    assert not alive
