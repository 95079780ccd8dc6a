"""Tables of predictions, a row an image.

Columns: `image_id`, `label` (0 real, 1 fake), `score` (P(fake)), `uncalibrated` (the score before
the temperature of `decision`), `path`, which is the image's path in its source, so that a mistake
can be looked at, and `source`, the name of that source.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from deepfake.common.errors import PipelineError
from deepfake.common.files import replacing
from deepfake.evaluation.tables import read_table

SCORE_DIGITS = 6

_SCORES = ("score", "uncalibrated")
_COLUMNS = {
    "image_id": "str",
    "label": "int8",
    **dict.fromkeys(_SCORES, "float64"),
    "path": "str",
    "source": "str",
}


def predictions(
    image_ids: list[str],
    labels: np.ndarray,
    scores: np.ndarray,
    paths: list[str],
    *,
    sources: list[str] | str = "",
    uncalibrated: np.ndarray | None = None,
) -> pd.DataFrame:
    """Make the table of predictions of n images.

    Args:
        image_ids: n names.
        labels: shape (n,).
        scores: shape (n,), in [0, 1]; rounded to `SCORE_DIGITS`, as in the file.
        paths: n paths in the source.
        sources: n names of sources, or one name for all.
        uncalibrated: shape (n,), as `scores`; None: the scores are as the model gave them.

    Raises:
        PipelineError: a score is not in [0, 1].
    """
    before = scores if uncalibrated is None else uncalibrated
    table = pd.DataFrame(
        {
            "image_id": image_ids,
            "label": np.asarray(labels, dtype="int8"),
            "score": np.round(np.asarray(scores, dtype="float64"), SCORE_DIGITS),
            "uncalibrated": np.round(np.asarray(before, dtype="float64"), SCORE_DIGITS),
            "path": paths,
            "source": sources,
        }
    )
    return _checked(table, "predictions")


def write_predictions(path: Path | str, table: pd.DataFrame) -> None:
    """Write a table of predictions as CSV; the same table gives the same bytes."""
    with replacing(path) as partial:
        table.to_csv(partial, index=False, float_format=f"%.{SCORE_DIGITS}f", lineterminator="\n")


def read_predictions(path: Path | str) -> pd.DataFrame:
    """Read a table of predictions. Raises as `predictions` does."""
    missing = {column: ["", "nan"] for column in _SCORES}
    table = read_table(path, dtype=_COLUMNS, keep_default_na=False, na_values=missing)
    return _checked(table, str(path))


def _checked(table: pd.DataFrame, origin: str) -> pd.DataFrame:
    for column in _SCORES:
        bad = ~table[column].between(0, 1)
        if bad.any():
            row = table[bad].iloc[0]
            raise PipelineError(
                f"{origin}: {int(bad.sum())} scores outside [0, 1], "
                f"the first {row[column]} for image {row['image_id']}: the model diverged"
            )
    return table
