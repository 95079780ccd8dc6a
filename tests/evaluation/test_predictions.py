"""Tables of predictions and their files."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from deepfake.common.errors import PipelineError
from deepfake.evaluation import predictions

HEADER = "image_id,label,score,uncalibrated,path"


def table(labels: list[int] | np.ndarray, values: list[float] | np.ndarray) -> pd.DataFrame:
    ids = [f"id{number}" for number in range(len(labels))]
    paths = [f"test/{name}.jpg" for name in ids]
    values = np.asarray(values, dtype=float)
    return predictions.predictions(ids, np.asarray(labels), values, paths)


def test_predictions_come_back_from_their_file_exactly(tmp_path: Path) -> None:
    written = predictions.predictions(
        ["001", "NA", "a,b"],
        np.array([0, 1, 1]),
        np.array([0, 1 / 3, 1], dtype="float32"),
        ["real/1.jpg", 'real/a "b", c.png', "null"],
    )
    predictions.write_predictions(tmp_path / "a.csv", written)
    read = predictions.read_predictions(tmp_path / "a.csv")
    assert read["label"].tolist() == [0, 1, 1]
    assert read["score"].tolist() == written["score"].tolist() == [0, 0.333333, 1]
    assert read["image_id"].iloc[0] == "001"
    assert read["image_id"].iloc[2] == "a,b"
    assert read["path"].tolist() == ["real/1.jpg", 'real/a "b", c.png', "null"]


def test_an_image_id_may_be_any_text(tmp_path: Path) -> None:
    names = ["NA", "null"]
    written = predictions.predictions(names, np.array([0, 1]), np.array([0.1, 0.2]), names)
    predictions.write_predictions(tmp_path / "a.csv", written)
    assert predictions.read_predictions(tmp_path / "a.csv")["image_id"].tolist() == ["NA", "null"]


def test_the_file_of_predictions_is_plain(tmp_path: Path) -> None:
    predictions.write_predictions(tmp_path / "a.csv", table([1], [2 / 3]))
    assert (tmp_path / "a.csv").read_bytes() == (
        f"{HEADER}\nid0,1,0.666667,0.666667,test/id0.jpg\n".encode()
    )


@pytest.mark.parametrize("bad", [math.nan, -0.01, 1.01, math.inf])
def test_scores_that_are_no_probability_are_refused(tmp_path: Path, bad: float) -> None:
    with pytest.raises(PipelineError, match=r"predictions: 2 scores outside .* image id1"):
        table([0, 1, 1], [0.5, bad, bad])
    (tmp_path / "a.csv").write_text(f"{HEADER}\nid0,0,0.5,0.5,a\nid1,1,{bad},0.5,b\n")
    with pytest.raises(PipelineError, match=r"a\.csv: 1 scores outside .* image id1"):
        predictions.read_predictions(tmp_path / "a.csv")
    (tmp_path / "a.csv").write_text(f"{HEADER}\nid0,0,0.5,0.5,a\nid1,1,0.5,{bad},b\n")
    with pytest.raises(PipelineError, match=r"a\.csv: 1 scores outside .* image id1"):
        predictions.read_predictions(tmp_path / "a.csv")
