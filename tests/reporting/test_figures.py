"""Figures: PNG files that depend on their tables alone."""

import io
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from deepfake.reporting import figures
from deepfake.reporting import reliability as reliability_figure
from deepfake.reporting.drawing import CLASS_COLORS, COLORS

ROOT = Path(__file__).parent.parent.parent

CURVE = pd.DataFrame({"fpr": [0, 0, 0.3, 1], "tpr": [0, 0.5, 0.9, 1]})
HISTORY = pd.DataFrame(
    {
        "phase": ["head", "head", "fine_tune"],
        "epoch": [1, 2, 3],
        "learning_rate": [0.1, 0.1, 0.01],
        "train_loss": [0.7, 0.5, 0.4],
        "train_roc_auc": [0.5, 0.7, 0.9],
        "valid_loss": [0.7, 0.6, 0.5],
        "valid_roc_auc": [0.5, 0.6, 0.7],
    }
)


BAND = pd.DataFrame({"fpr": [0, 0.5, 1], "low": [0.2, 0.8, 1], "high": [0.6, 1, 1]})


def counted(*counts: int) -> np.ndarray:
    """Counts of (actual, predicted): real real, real fake, fake real, fake fake."""
    pairs = [(actual, called) for actual in ("real", "fake") for called in ("real", "fake")]
    rows = np.repeat(np.array(pairs), counts, axis=0)
    return figures.confusion_counts(pd.DataFrame(rows, columns=["actual", "predicted"]))


def roc(
    path: Path,
    operating: tuple[float, float] = (0.3, 0.9),
    low: float = 0.2,
    threshold: float = 0.5,
) -> None:
    band = BAND.assign(low=[low, 0.8, 1])
    baseline = figures.RocCurve(CURVE, 0.512, BAND, np.array([0.1, 0.5]), 0.5)
    image = figures.RocCurve(CURVE, 0.834, band, np.array(operating), threshold)
    figures.roc(path, {"baseline": baseline, "image": image}, 0.95)


def precision_recall(path: Path, *counts: int) -> None:
    curve = pd.DataFrame({"recall": [1, 0.5, 0], "precision": [0.5, 0.8, 1]})
    figures.precision_recall(path, "image", curve, 0.8, counted(*(counts or (8, 2, 3, 7))), 0.5)


def confusion(path: Path, counts: tuple[int, int, int, int] = (12345, 3, 400, 9000)) -> None:
    figures.confusion(path, "image", counted(*counts), 0.5)


def scores(path: Path, threshold: float = 0.5) -> None:
    generator = np.random.default_rng(0)
    table = pd.DataFrame({"label": [0, 1] * 200, "score": generator.uniform(size=400)})
    figures.scores(path, "image", table, threshold)


def reliability(path: Path, power: float = 0.5) -> None:
    """The image model; `power`: how far its temperature moves the scores."""
    generator = np.random.default_rng(0)
    table = pd.DataFrame({"label": [0, 1] * 200, "uncalibrated": generator.uniform(size=400)})
    table["score"] = table["uncalibrated"] ** power
    reliability_figure.draw(path, {"baseline": table, "image": table}, 0.95)


def history(path: Path, table: pd.DataFrame = HISTORY, best: int = 2) -> None:
    figures.history(path, table, best)


def coefficients(path: Path, number: int = 30, collinear: str = "") -> None:
    table = pd.DataFrame(
        {
            "feature": [f"feature_{n}" for n in range(number)],
            "coefficient": [float((-1) ** n * n) for n in reversed(range(number))],
            "collinear_with": [collinear] * number,
        }
    )
    figures.coefficients(path, table)


SIZES = {
    roc: (624, 552),
    precision_recall: (624, 552),
    confusion: (624, 504),
    scores: (624, 504),
    reliability: (1008, 576),
    history: (1008, 480),
    coefficients: (768, 912),
}
each_figure = pytest.mark.parametrize("draw", SIZES, ids=lambda draw: draw.__name__)


def drawn(path: Path, draw: Callable[..., None], *arguments: Any) -> bytes:
    draw(path, *arguments)
    return path.read_bytes()


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> dict[Callable[..., None], bytes]:
    """Each figure as its function draws it by default."""
    path = tmp_path_factory.mktemp("plain") / "folder" / "a.png"
    return {draw: drawn(path, draw) for draw in SIZES}


def colours(data: bytes) -> dict[str, int]:
    """How many pixels have each colour."""
    found = Image.open(io.BytesIO(data)).convert("RGB").getcolors(1_000_000)
    return {"#" + bytes(colour).hex(): number for number, colour in found}


@each_figure
def test_it_is_a_png_of_its_size(plain: dict, draw: Callable[[Path], None]) -> None:
    data = plain[draw]
    with Image.open(io.BytesIO(data)) as image:
        assert image.format == "PNG"
        assert image.size == SIZES[draw]
        assert "Software" not in image.info
        assert len(image.convert("RGB").getcolors(1_000_000)) > 10


@each_figure
def test_twice_the_same_bytes(tmp_path: Path, plain: dict, draw: Callable[[Path], None]) -> None:
    assert drawn(tmp_path / "b.png", draw) == plain[draw]


def test_other_values_give_another_image(tmp_path: Path, plain: dict) -> None:
    path = tmp_path / "a.png"
    changed = HISTORY.assign(valid_roc_auc=[0.5, 0.9, 0.7])
    assert plain[history] != drawn(path, history, changed)
    assert plain[history] != drawn(path, history, HISTORY.assign(phase="head"))
    assert plain[confusion] != drawn(path, confusion, (1, 2, 3, 4))
    assert drawn(path, coefficients, 3) != drawn(path, coefficients, 4)


def test_what_is_marked_is_in_the_image(tmp_path: Path, plain: dict) -> None:
    path = tmp_path / "a.png"
    assert plain[roc] != drawn(path, roc, (0.31, 0.9))
    assert plain[roc] != drawn(path, roc, (0.3, 0.9), 0.1)
    assert plain[roc] != drawn(path, roc, (0.3, 0.9), 0.2, 0.4)
    assert plain[scores] != drawn(path, scores, 0.4)
    assert plain[reliability] != drawn(path, reliability, 0.6)
    assert plain[precision_recall] != drawn(path, precision_recall, 8, 2, 4, 6)
    assert drawn(path, coefficients, 3) != drawn(path, coefficients, 3, "feature_1")


def test_the_best_epoch_is_marked(tmp_path: Path, plain: dict) -> None:
    without = colours(drawn(tmp_path / "a.png", history, HISTORY, 9))  # there is no epoch 9
    assert colours(plain[history])[COLORS["valid"]] > without[COLORS["valid"]] + 50


def test_penalties_are_drawn_with_the_one_that_was_used(tmp_path: Path) -> None:
    table = pd.DataFrame({"weight_decay": [0.001, 0.01, 0.1], "log_loss": [0.3, 0.2, 0.4]})
    table = table.assign(log_loss_error=0.02, roc_auc=[0.9, 0.95, 0.93], roc_auc_error=0.01)
    path = tmp_path / "a.png"
    one, other = (drawn(path, figures.penalties, table, chosen) for chosen in (0.01, 0.1))
    assert one != other
    assert one != drawn(path, figures.penalties, table.assign(roc_auc=0.5), 0.01)


def test_counts_have_both_classes_even_where_nothing_was_predicted_so() -> None:
    assert counted(5, 0, 2, 0).tolist() == [[5, 0], [2, 0]]
    assert counted(6, 2, 1, 3).tolist() == [[6, 2], [1, 3]]
    assert figures.shares(counted(6, 2, 1, 3)).tolist() == [[0.75, 0.25], [0.25, 0.75]]
    assert figures.shares(counted(5, 0, 0, 0)).tolist() == [[1, 0], [0, 0]]


def test_the_best_epoch_is_counted_through_both_phases() -> None:
    head = {"epochs": 30, "best_epoch": 21}
    tuned = {"epochs": 5, "best_epoch": 4, "kept": True}
    assert figures.best_epoch({"head": head, "fine_tune": tuned}) == 34
    assert figures.best_epoch({"head": head, "fine_tune": {**tuned, "kept": False}}) == 21


def test_collinear_features_are_named_once() -> None:
    table = pd.DataFrame({"feature": ["b", "a", "c"], "collinear_with": ["a", "b", ""]})
    assert figures._collinear_groups(table) == ["a and b"]


def test_the_page_of_dvc_has_the_same_colours() -> None:
    template = json.loads((ROOT / ".dvc/plots/models.json").read_text())
    scale = template["encoding"]["color"]["scale"]
    assert dict(zip(scale["domain"], scale["range"], strict=True)) == {
        model: COLORS[model] for model in ("baseline", "image")
    }


def test_each_model_has_its_colour(plain: dict) -> None:
    assert {COLORS["baseline"], COLORS["image"]} <= set(colours(plain[roc]))


def test_each_class_has_its_colour_in_bars(plain: dict) -> None:
    assert set(CLASS_COLORS.values()) <= set(colours(plain[coefficients]))


def test_only_the_largest_coefficients_are_drawn(tmp_path: Path) -> None:
    sizes = [
        Image.open(io.BytesIO(drawn(tmp_path / "a.png", coefficients, number))).height
        for number in (5, 20, 200)
    ]
    assert sizes[0] < sizes[1] == sizes[2]


def test_without_coefficients_or_calls_there_is_a_figure_still(tmp_path: Path) -> None:
    drawn(tmp_path / "a.png", coefficients, 0)
    drawn(tmp_path / "b.png", confusion, (5, 0, 0, 0))
    drawn(tmp_path / "c.png", precision_recall, 5, 0, 2, 0)
    assert len(list(tmp_path.iterdir())) == 3


def test_a_figure_that_fails_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        figures.history(tmp_path / "a.png", HISTORY.drop(columns="valid_loss"), 2)
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
