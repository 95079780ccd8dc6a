"""Arrays in a file: written once, read a few rows at a time."""

import threading

import ml_dtypes
import numpy as np
import pytest

from deepfake.data.array_file import ArrayFile


@pytest.mark.parametrize("dtype", ["int16", "float16", "float32", ml_dtypes.bfloat16])
@pytest.mark.parametrize("shape", [(), (3,), (2, 4, 3)])
def test_rows_come_back_as_they_were_appended(tmp_path, dtype, shape):
    rows = np.random.default_rng(0).normal(size=(7, *shape)).astype("f").astype(dtype)
    file = ArrayFile(tmp_path / "rows", shape, dtype)
    assert len(file) == 0
    file.append(rows[:3])
    file.append(rows[3:])
    assert file.shape == rows.shape
    assert file[2:5].dtype == rows.dtype
    np.testing.assert_array_equal(file[2:5], rows[2:5])
    np.testing.assert_array_equal(file[5:100], rows[5:])
    assert len(file[7:]) == 0
    np.testing.assert_array_equal(file.take([6, 0, 6, 3]), rows[[6, 0, 6, 3]])


def test_an_npy_file_is_read_a_slice_at_a_time(tmp_path):
    rows = np.arange(24, dtype="float32").reshape(6, 2, 2)
    np.save(tmp_path / "rows.npy", rows)
    file = ArrayFile.npy(tmp_path / "rows.npy")
    assert file.shape == (6, 2, 2)
    np.testing.assert_array_equal(file[1:4], rows[1:4])


def test_rows_of_another_shape_or_type_are_refused(tmp_path):
    file = ArrayFile(tmp_path / "rows", (2,), "float32")
    for rows in (np.zeros((1, 3), "float32"), np.zeros((1, 2), "float64")):
        with pytest.raises(ValueError, match=r"holds rows \(2,\) float32; received"):
            file.append(rows)
    assert len(file) == 0


def test_a_row_written_in_part_does_not_count(tmp_path):
    file = ArrayFile(tmp_path / "rows", (2,), "float32")
    file.append(np.ones((2, 2), "float32"))
    with open(tmp_path / "rows", "ab") as raw:
        raw.write(b"12345")
    assert len(file) == 2
    assert file[:].tolist() == [[1, 1], [1, 1]]


def test_threads_read_at_the_same_time(tmp_path):
    rows = np.arange(4000, dtype="int32").reshape(1000, 4)
    file = ArrayFile(tmp_path / "rows", (4,), "int32")
    file.append(rows)
    wrong = []

    def read(seed):
        for number in np.random.default_rng(seed).integers(0, 1000, 200).tolist():
            if not np.array_equal(file.take([number])[0], rows[number]):
                wrong.append(number)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
