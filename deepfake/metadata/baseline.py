"""The metadata baseline: how well fakes can be told from reals without looking at a pixel."""

from pathlib import Path

import joblib
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.compose import ColumnTransformer
from sklearn.dummy import DummyClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from deepfake.common.files import replacing
from deepfake.metadata.table import CATEGORICAL, FLAGS, NUMERIC, varying
from deepfake.params import BaselineParams

# Features whose correlation on train is stronger than this say nearly the same.
COLLINEAR = 0.95


def fit(table: pd.DataFrame, params: BaselineParams) -> Pipeline:
    """Fit a logistic regression to a metadata table.

    Numbers are standardised (a missing one is replaced by the median and flagged), and categories
    are one-hot encoded. Constant columns are left out. If every column is constant, the model
    scores each image with the share of fakes in `table`.

    Args:
        table: one row per image, with the columns `label` and `FEATURES`.
    """
    names = varying(table)
    if not names:
        constant = Pipeline([("model", DummyClassifier(strategy="prior"))])
        return constant.fit(table[[]].assign(constant=0), table["label"])
    numbers = make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler())
    categories = OneHotEncoder(handle_unknown="ignore")
    flags = OneHotEncoder(drop="if_binary", dtype=np.float64)
    columns = ColumnTransformer(
        [
            ("numeric", numbers, [name for name in names if name in NUMERIC]),
            ("categorical", categories, [name for name in names if name in CATEGORICAL]),
            ("flags", flags, [name for name in names if name in FLAGS]),
        ],
        verbose_feature_names_out=False,
    )
    regression = LogisticRegression(
        C=params.C,
        class_weight=None if params.class_weight == "none" else params.class_weight,
        max_iter=params.max_iter,
    )
    pipeline = Pipeline([("columns", columns), ("model", regression)])
    return pipeline.fit(table[names], table["label"])


def score(pipeline: Pipeline, table: pd.DataFrame) -> NDArray[np.float64]:
    """Compute P(fake), shape (n,), for the n rows of a metadata table."""
    names = list(pipeline.feature_names_in_)
    inputs = table.assign(constant=0)[names]
    return np.asarray(pipeline.predict_proba(inputs)[:, 1])


def coefficients(pipeline: Pipeline) -> pd.DataFrame:
    """List the coefficients of a fitted pipeline, in the order of its inputs.

    Returns:
        The columns `feature` and `coefficient`, the change in the log odds of fake: per standard
        deviation for numbers, for being present for categories. Empty if every column was constant.
    """
    model = pipeline.named_steps["model"]
    if not hasattr(model, "coef_"):
        return pd.DataFrame({"feature": [], "coefficient": []}).astype({"coefficient": float})
    names = pipeline.named_steps["columns"].get_feature_names_out()
    return pd.DataFrame({"feature": names, "coefficient": model.coef_[0]})


def collinear(pipeline: Pipeline, table: pd.DataFrame) -> list[str]:
    """For each input of a fitted pipeline, name those that it is collinear with.

    Such inputs share one effect, which the regression divides among them at will: their
    coefficients mean something only together.

    Args:
        table: the one that the pipeline was fitted to.

    Returns:
        For each row of `coefficients`, the inputs whose correlation with it is beyond `COLLINEAR`
        either way, joined with a space; empty where there are none.
    """
    if "columns" not in pipeline.named_steps:
        return []
    columns = pipeline.named_steps["columns"]
    inputs = columns.transform(table[list(pipeline.feature_names_in_)])
    inputs = inputs.toarray() if hasattr(inputs, "toarray") else inputs
    # An input without any spread correlates with nothing.
    with np.errstate(invalid="ignore", divide="ignore"):
        strength = np.nan_to_num(np.abs(np.atleast_2d(np.corrcoef(inputs, rowvar=False))))
    np.fill_diagonal(strength, 0)
    names = columns.get_feature_names_out()
    return [" ".join(names[row > COLLINEAR]) for row in strength]


def save(pipeline: Pipeline, path: Path | str) -> None:
    """Write a fitted pipeline with joblib; the same pipeline gives the same bytes."""
    with replacing(path) as partial:
        joblib.dump(pipeline, partial)
