"""The metadata baseline: what it may see, what it finds, and that its file can be reproduced."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from deepfake.metadata import baseline
from deepfake.metadata.table import COLUMNS, FEATURES, varying
from deepfake.params import BaselineParams

PARAMS = BaselineParams(C=1.0, class_weight="none", max_iter=1000)
HIDDEN = ["image_id", "split", "label_name", "path", "source", "sha256"]


def metadata_table(number: int = 400, seed: int = 0, **columns: Any) -> pd.DataFrame:
    """A table whose identifying columns give the label away and whose features do not."""
    generator = np.random.default_rng(seed)
    label = generator.permutation(np.arange(number) % 2)
    name = np.where(label == 1, "fake", "real")
    values: dict[str, Any] = {
        "image_id": name,
        "split": name,
        "label": label,
        "label_name": name,
        "path": name,
        "source": name,
        "sha256": name,
        "format": "JPEG",
        "mode": "RGB",
        "width": 256,
        "height": 256,
        "bytes": generator.integers(9_000, 30_000, number),
        "bits_per_pixel": generator.uniform(1, 4, number),
        "jpeg_quality": generator.choice([75.0, 90.0, np.nan], number),
        "subsampling": generator.choice(["4:2:0", "4:4:4"], number),
        "progressive": generator.random(number) < 0.5,
        "has_exif": False,
        "has_icc": False,
    }
    return pd.DataFrame(values | columns)[list(COLUMNS)]


def auc(model: Any, table: pd.DataFrame) -> float:
    return float(roc_auc_score(table["label"], baseline.score(model, table)))


def test_only_features_reach_the_model() -> None:
    train, test = metadata_table(), metadata_table(seed=1)
    model = baseline.fit(train, PARAMS)
    assert set(model.feature_names_in_) <= set(FEATURES)
    assert not set(model.feature_names_in_) & {*HIDDEN, "label"}
    assert 0.4 < auc(model, test) < 0.6


def test_fitting_and_scoring_need_no_other_column() -> None:
    train, test = metadata_table(), metadata_table(seed=1)
    known = baseline.score(baseline.fit(train, PARAMS), test)
    bare = baseline.fit(train.drop(columns=HIDDEN), PARAMS)
    assert np.array_equal(known, baseline.score(bare, test.drop(columns=[*HIDDEN, "label"])))


def test_a_file_size_that_gives_the_classes_away_is_found() -> None:
    def leaking(seed: int) -> pd.DataFrame:
        table = metadata_table(seed=seed)
        noise = np.random.default_rng(seed).normal(0, 1000, len(table))
        return table.assign(bytes=(20_000 - 5_000 * table["label"] + noise).astype(int))

    model = baseline.fit(leaking(0), PARAMS)
    assert auc(model, leaking(1)) > 0.95
    found = baseline.coefficients(model).set_index("feature")["coefficient"]
    assert found.abs().idxmax() == "bytes"
    assert found["bytes"] < 0


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("format", ("PNG", "JPEG")),
        ("has_exif", (True, False)),
        ("jpeg_quality", (np.nan, 90.0)),
        ("progressive", (False, True)),
    ],
)
def test_each_kind_of_column_can_give_the_classes_away(column: str, values: Any) -> None:
    def leaking(seed: int) -> pd.DataFrame:
        table = metadata_table(seed=seed)
        return table.assign(**{column: [values[label] for label in table["label"]]})

    assert auc(baseline.fit(leaking(0), PARAMS), leaking(1)) > 0.95


def test_constant_columns_are_left_out() -> None:
    model = baseline.fit(metadata_table(), PARAMS)
    assert list(model.feature_names_in_) == [
        "bytes", "bits_per_pixel", "jpeg_quality", "subsampling", "progressive",
    ]  # fmt: skip


def test_missing_and_present_together_vary() -> None:
    table = metadata_table(jpeg_quality=[90.0, np.nan] * 200, subsampling="none")
    assert "jpeg_quality" in varying(table)
    assert "jpeg_quality" not in varying(table.assign(jpeg_quality=np.nan))


def constant_table(fakes: int = 100) -> pd.DataFrame:
    fixed = {"bytes": 9, "bits_per_pixel": 1.0, "jpeg_quality": 90.0, "subsampling": "4:2:0"}
    table = metadata_table(**fixed, progressive=False)
    return pd.concat([table[table["label"] == 0], table[table["label"] == 1][:fakes]])


def test_where_nothing_varies_the_score_is_the_share_of_fakes() -> None:
    model = baseline.fit(constant_table(fakes=100), PARAMS)
    assert baseline.score(model, metadata_table(seed=1)) == pytest.approx(100 / 300)
    assert baseline.coefficients(model).empty
    assert list(baseline.coefficients(model)) == ["feature", "coefficient"]


def test_a_category_not_seen_in_training_is_scored() -> None:
    model = baseline.fit(metadata_table(), PARAMS)
    table = metadata_table(seed=1)
    usual = baseline.score(model, table)
    strange = baseline.score(model, table.assign(subsampling="4:1:1"))
    assert np.isfinite(strange).all()
    assert not np.array_equal(usual, strange)


def test_a_quality_missing_only_at_scoring_takes_the_median() -> None:
    train = metadata_table(jpeg_quality=[70.0, 80.0, 80.0, 95.0] * 100)
    model = baseline.fit(train, PARAMS)
    missing = baseline.score(model, train.assign(jpeg_quality=np.nan))
    assert np.array_equal(missing, baseline.score(model, train.assign(jpeg_quality=80.0)))


def test_scores_are_probabilities_in_the_order_of_the_rows() -> None:
    train, test = metadata_table(), metadata_table(seed=1)
    model = baseline.fit(train, PARAMS)
    found = baseline.score(model, test)
    assert found.shape == (400,)
    assert 0 < found.min() < found.max() < 1
    assert np.array_equal(baseline.score(model, test[::-1]), found[::-1])


def test_coefficients_name_each_input_of_the_model() -> None:
    model = baseline.fit(metadata_table(), PARAMS)
    found = baseline.coefficients(model)
    assert found["feature"].tolist() == [
        "bytes",
        "bits_per_pixel",
        "jpeg_quality",
        "missingindicator_jpeg_quality",
        "subsampling_4:2:0",
        "subsampling_4:4:4",
        "progressive_True",
    ]
    assert np.array_equal(found["coefficient"], model.named_steps["model"].coef_[0])


def test_collinear_inputs_name_each_other() -> None:
    table = metadata_table()
    table["bits_per_pixel"] = table["bytes"] * -8 / 256**2
    model = baseline.fit(table, PARAMS)
    names = baseline.coefficients(model)["feature"]
    found = dict(zip(names, baseline.collinear(model, table), strict=True))
    assert found["bytes"] == "bits_per_pixel"
    assert found["bits_per_pixel"] == "bytes"
    assert found["subsampling_4:2:0"] == "subsampling_4:4:4"  # one is what the other is not
    assert found["progressive_True"] == ""


def test_inputs_without_spread_are_collinear_with_nothing() -> None:
    table = metadata_table(jpeg_quality=[90.0, np.nan] * 200)
    model = baseline.fit(table, PARAMS)
    names = list(baseline.coefficients(model)["feature"])
    assert baseline.collinear(model, table)[names.index("jpeg_quality")] == ""
    constant = constant_table()
    assert baseline.collinear(baseline.fit(constant, PARAMS), constant) == []


def test_a_single_input_is_collinear_with_nothing() -> None:
    table = constant_table().assign(bytes=np.arange(300))
    model = baseline.fit(table, PARAMS)
    assert baseline.collinear(model, table) == [""]


def test_the_parameters_reach_the_model() -> None:
    few = metadata_table().pipe(lambda t: pd.concat([t[t["label"] == 0], t[t["label"] == 1][:20]]))
    plain = baseline.fit(few, PARAMS)
    balanced = baseline.fit(few, PARAMS.model_copy(update={"class_weight": "balanced"}))
    assert baseline.score(plain, few).mean() == pytest.approx(20 / 220, abs=0.01)
    assert baseline.score(balanced, few).mean() == pytest.approx(0.5, abs=0.05)
    strict = baseline.fit(few, PARAMS.model_copy(update={"C": 1e-6}))
    assert baseline.coefficients(strict)["coefficient"].abs().max() < 1e-3


def test_a_saved_model_scores_the_same(tmp_path: Path) -> None:
    model, table = baseline.fit(metadata_table(), PARAMS), metadata_table(seed=1)
    baseline.save(model, tmp_path / "model.joblib")
    loaded = joblib.load(tmp_path / "model.joblib")
    assert np.array_equal(baseline.score(loaded, table), baseline.score(model, table))


DUMP = """
import sys, pandas as pd
from deepfake.metadata import baseline
from deepfake.params import BaselineParams
table = pd.read_pickle(sys.argv[1])
params = BaselineParams(C=1.0, class_weight="none", max_iter=1000)
baseline.save(baseline.fit(table, params), sys.argv[2])
"""


@pytest.mark.slow
def test_two_processes_write_the_same_bytes(
    tmp_path: Path, python: Callable[..., tuple[list[str], dict[str, str]]]
) -> None:
    metadata_table().to_pickle(tmp_path / "table")
    for seed in ("1", "2"):
        command, environment = python(
            DUMP, tmp_path / "table", tmp_path / seed, PYTHONHASHSEED=seed
        )
        subprocess.run(command, env=environment, check=True)
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()
