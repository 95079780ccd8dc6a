"""The metadata baseline: what could have been told from the files without looking at a pixel."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from deepfake.common.files import replacing
from deepfake.evaluation import predictions
from deepfake.metadata.table import CATEGORICAL, FEATURES, FLAGS, NUMERIC, read_metadata, varying
from deepfake.params import BaselineParams

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

# What `fit` imports: for `beside.prepared`.
PACKAGES = (
    "sklearn.compose",
    "sklearn.dummy",
    "sklearn.impute",
    "sklearn.linear_model",
    "sklearn.pipeline",
    "sklearn.preprocessing",
)


def train(
    folder: Path, params: BaselineParams, path: Path, evaluated: Sequence[str]
) -> tuple[dict[str, pd.DataFrame], pd.DataFrame]:
    """Fit the baseline to the table of `train` in `folder` and write it to `path`.

    Returns:
        The predictions of each split of `evaluated`, and the coefficients.
    """
    import joblib

    columns = ["image_id", "label", *FEATURES]
    pipeline = fit(read_metadata(folder / "train.csv", columns), params)
    with replacing(path) as partial:
        joblib.dump(pipeline, partial)
    found = {}
    for split in evaluated:
        table = read_metadata(folder / f"{split}.csv", columns)
        ids, labels = table["image_id"].tolist(), table["label"].to_numpy()
        found[split] = predictions.predictions(ids, labels, score(pipeline, table))
    return found, coefficients(pipeline)


def fit(table: pd.DataFrame, params: BaselineParams) -> "Pipeline":
    """Fit the baseline to a metadata table.

    Numbers are scaled (a missing one takes the median and is flagged), categories one-hot encoded;
    constant columns are left out. Where every column is constant the model gives the share of
    fakes, whatever the image.
    """
    from sklearn.compose import ColumnTransformer
    from sklearn.dummy import DummyClassifier
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import Pipeline, make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    names = varying(table)
    numeric = [name for name in names if name in NUMERIC]
    categorical = [name for name in names if name in CATEGORICAL]
    flags = [name for name in names if name in FLAGS]
    columns = ColumnTransformer(
        [
            (
                "numeric",
                make_pipeline(
                    SimpleImputer(strategy="median", add_indicator=True), StandardScaler()
                ),
                numeric,
            ),
            ("categorical", OneHotEncoder(handle_unknown="ignore"), categorical),
            ("flags", OneHotEncoder(drop="if_binary", dtype=np.float64), flags),
        ],
        verbose_feature_names_out=False,
    )
    regression: Any = LogisticRegression(
        C=params.C,
        class_weight=None if params.class_weight == "none" else params.class_weight,
        max_iter=params.max_iter,
    )
    if not names:
        regression = DummyClassifier(strategy="prior")
        return Pipeline([("model", regression)]).fit(table[[]].assign(constant=0), table["label"])
    pipeline = Pipeline([("columns", columns), ("model", regression)])
    return pipeline.fit(table[names], table["label"])


def score(pipeline: "Pipeline", table: pd.DataFrame) -> np.ndarray:
    """P(fake) (n,) of each row of a metadata table."""
    names = list(pipeline.feature_names_in_)
    inputs = table.assign(constant=0)[names]
    return np.asarray(pipeline.predict_proba(inputs)[:, 1])


def coefficients(pipeline: "Pipeline") -> pd.DataFrame:
    """Columns `feature` and `coefficient` (log odds of fake; per standard deviation for numbers),
    in the model's order; empty where every column was constant."""
    model = pipeline.named_steps["model"]
    if not hasattr(model, "coef_"):
        return pd.DataFrame({"feature": [], "coefficient": []}).astype({"coefficient": float})
    names = pipeline.named_steps["columns"].get_feature_names_out()
    return pd.DataFrame({"feature": names, "coefficient": model.coef_[0]})
