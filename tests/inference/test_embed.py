"""Computing embeddings."""

import numpy as np
import pytest

from deepfake.inference import embed

pytestmark = pytest.mark.slow


def test_interrupted_embedding_is_cut_back_to_whole_batches(tmp_path):
    shape = (10, 2, 3)
    row = 2 * 3 * 4
    with open(tmp_path / "rows", "ab") as file:
        file.write(b"x" * (row * 7 + 5))
        assert embed._whole_batches(file, shape, np.dtype("f4"), 4) == 4
    assert (tmp_path / "rows").stat().st_size == row * 4
