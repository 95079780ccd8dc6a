"""Reading the tables that stages hand on."""

from pathlib import Path
from typing import Any

import pandas as pd

from deepfake.common.files import reading


def read_table(path: Path | str, **options: Any) -> pd.DataFrame:
    """Read a CSV that another stage wrote.

    Args:
        options: of `pandas.read_csv`.

    Raises:
        PipelineError: it is damaged.
    """
    with reading(path):
        return pd.read_csv(path, **options)  # type: ignore[no-any-return]
