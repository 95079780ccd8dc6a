"""Figures: PNG files that depend on their tables alone."""

import io
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from deepfake.reporting import figures

CURVE = pd.DataFrame({"fpr": [0, 0, 0.3, 1], "tpr": [0, 0.5, 0.9, 1]})
HISTORY = pd.DataFrame(
    {
        "phase": ["head", "head", "fine_tune"],
        "epoch": [1, 2, 3],
        "train_loss": [0.7, 0.5, 0.4],
        "train_roc_auc": [0.5, 0.7, 0.9],
        "valid_loss": [0.7, 0.6, 0.5],
        "valid_roc_auc": [0.5, 0.6, 0.7],
    }
)


def roc(path: Path) -> None:
    curves = {"baseline": (CURVE, 0.512), "image": (CURVE, 0.834)}
    figures.roc(path, curves, "ROC on test, both models")


def precision_recall(path: Path) -> None:
    curve = pd.DataFrame({"recall": [1, 0.5, 0], "precision": [0.5, 0.8, 1]})
    figures.precision_recall(path, "image", curve, 0.8, 0.5)


def confusion(path: Path, counts: tuple[int, int, int, int] = (12345, 3, 400, 9000)) -> None:
    pairs = [(actual, called) for actual in ("real", "fake") for called in ("real", "fake")]
    rows = np.repeat(np.array(pairs), counts, axis=0)
    figures.confusion(path, "image", pd.DataFrame(rows, columns=["actual", "predicted"]))


def history(path: Path, table: pd.DataFrame = HISTORY) -> None:
    figures.history(path, table)


def coefficients(path: Path, number: int = 30) -> None:
    table = pd.DataFrame(
        {
            "feature": [f"feature_{n}" for n in range(number)],
            "coefficient": [float((-1) ** n * n) for n in range(number)],
        }
    )
    figures.coefficients(path, table)


SIZES = {
    roc: (624, 552),
    precision_recall: (624, 552),
    confusion: (528, 480),
    history: (1008, 456),
    coefficients: (768, 888),
}
each_figure = pytest.mark.parametrize("draw", SIZES, ids=lambda draw: draw.__name__)


def drawn(path: Path, draw: Callable[..., None], *arguments: Any) -> bytes:
    draw(path, *arguments)
    return path.read_bytes()


def colours(data: bytes) -> set[str]:
    pixels = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).reshape(-1, 3)
    return {"#" + bytes(pixel).hex() for pixel in np.unique(pixels, axis=0).astype(np.uint8)}


@each_figure
def test_it_is_a_png_of_its_size(tmp_path: Path, draw: Callable[[Path], None]) -> None:
    data = drawn(tmp_path / "folder" / "a.png", draw)
    with Image.open(io.BytesIO(data)) as image:
        assert image.format == "PNG"
        assert image.size == SIZES[draw]
        assert "Software" not in image.info
        assert len(image.convert("RGB").getcolors(1_000_000)) > 10


@each_figure
def test_twice_the_same_bytes(tmp_path: Path, draw: Callable[[Path], None]) -> None:
    assert drawn(tmp_path / "a.png", draw) == drawn(tmp_path / "b.png", draw)


def test_other_values_give_another_image(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    changed = HISTORY.assign(valid_roc_auc=[0.5, 0.9, 0.7])
    assert drawn(path, history) != drawn(path, history, changed)
    assert drawn(path, history) != drawn(path, history, HISTORY.assign(phase="head"))
    assert drawn(path, confusion) != drawn(path, confusion, (1, 2, 3, 4))
    assert drawn(path, coefficients, 3) != drawn(path, coefficients, 4)


def test_each_model_has_its_colour(tmp_path: Path) -> None:
    data = drawn(tmp_path / "a.png", roc)
    assert {figures.COLORS["baseline"], figures.COLORS["image"]} <= colours(data)


def test_only_the_largest_coefficients_are_drawn(tmp_path: Path) -> None:
    sizes = [
        Image.open(io.BytesIO(drawn(tmp_path / "a.png", coefficients, number))).height
        for number in (5, 20, 200)
    ]
    assert sizes[0] < sizes[1] == sizes[2]


def test_without_coefficients_or_calls_there_is_a_figure_still(tmp_path: Path) -> None:
    drawn(tmp_path / "a.png", coefficients, 0)
    drawn(tmp_path / "b.png", confusion, (5, 0, 0, 0))
    assert len(list(tmp_path.iterdir())) == 2


def test_a_figure_that_fails_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        figures.history(tmp_path / "a.png", HISTORY.drop(columns="valid_loss"))
    assert list(tmp_path.iterdir()) == []


DRAW = """
import sys
sys.path.insert(0, sys.argv[1])
from tests.reporting import test_figures
for draw in test_figures.SIZES:
    draw(test_figures.Path(sys.argv[2]) / draw.__name__)
"""


def drawn_elsewhere(
    folder: Path, python: Callable[..., Any], working: Path, **environment: str
) -> dict[str, bytes]:
    """Every figure, by a process of its own."""
    folder.mkdir()
    working.mkdir(exist_ok=True)
    command, variables = python(DRAW, Path(__file__).parent.parent.parent, folder, **environment)
    variables.pop("DISPLAY", None)
    subprocess.run(command, env=variables | environment, cwd=working, check=True)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.slow
def test_another_process_writes_the_same_bytes_whatever_the_display(
    tmp_path: Path, python: Callable[..., Any]
) -> None:
    here = {draw.__name__: drawn(tmp_path / "here.png", draw) for draw in SIZES}
    there = drawn_elsewhere(
        tmp_path / "there", python, tmp_path, PYTHONHASHSEED="5", MPLBACKEND="TkAgg", DISPLAY=":97"
    )
    assert there == here


@pytest.mark.slow
@pytest.mark.parametrize("where", ["working folder", "MPLCONFIGDIR"])
def test_a_matplotlibrc_changes_nothing(
    tmp_path: Path, python: Callable[..., Any], where: str
) -> None:
    (tmp_path / "rc").mkdir()
    (tmp_path / "rc" / "matplotlibrc").write_text("lines.linewidth: 9\nfont.size: 20\n")
    plain = drawn_elsewhere(tmp_path / "plain", python, tmp_path / "empty")
    styled = (
        drawn_elsewhere(tmp_path / "styled", python, tmp_path / "rc")
        if where == "working folder"
        else drawn_elsewhere(
            tmp_path / "styled", python, tmp_path / "empty", MPLCONFIGDIR=str(tmp_path / "rc")
        )
    )
    assert styled == plain
