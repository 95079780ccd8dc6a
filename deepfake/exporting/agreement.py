"""Write the network in the formats asked for, and keep those whose scores are Keras's."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deepfake.common import progress
from deepfake.common.errors import PipelineError
from deepfake.common.files import sha256_file, write_table
from deepfake.data import shards
from deepfake.data.images import decode, resized
from deepfake.evaluation.ranking import roc_auc
from deepfake.exporting import runtimes
from deepfake.exporting.conversion import convert
from deepfake.exporting.formats import FORMATS
from deepfake.params import ExportParams

TABLE = "formats.csv"
_CALIBRATED = 100  # images of `train` that int8 is calibrated on
_SPEED = "images_per_second"
COLUMNS = [
    "format", "written", "tolerance", "score_difference", "roc_auc_difference", "bytes", _SPEED,
    "reason", "sha256",
]  # fmt: skip


def write_formats(
    classify: Any, network: Any, chosen: ExportParams, images: Path, folder: Path
) -> pd.DataFrame:
    """Write the formats, and a table of how well each agrees with Keras on `valid`.

    A file whose scores are off by more than its tolerance is deleted. The table `formats.csv` has
    all columns but the speed, which is another each time.

    Args:
        classify: the model `classify` of the detector, from pixels to P(fake): the measure.
        network: the same, from pixels to the logit (and maps), which is converted.
        chosen: which formats, and how many images are compared.
        images: the folder of shards.
        folder: of the exported detector; it has the network for OpenVINO already.

    Returns:
        A row for Keras and for each format.

    Raises:
        PipelineError: the network for OpenVINO, without which there is no detector, is off.
    """
    size = classify.input.shape[1]
    converted, failed = _converted(network, chosen.formats, images, size, folder)
    runs = {"keras": runtimes.keras(classify), **converted}
    labels, scores, seconds = _scored(runs, images, chosen.images, size)
    rows = [{"format": "keras", _SPEED: _speed(seconds["keras"])}]
    for name in chosen.formats:
        row: dict[str, Any] = {"format": name, "tolerance": FORMATS[name].tolerance}
        if name in runs:
            row |= _differences(labels, scores["keras"], scores[name])
            row[_SPEED] = _speed(seconds[name])
        rows.append(row | _kept(folder, name, row, failed.get(name)))
    table = pd.DataFrame(rows, columns=COLUMNS).astype({"bytes": "Int64"})
    write_table(folder / TABLE, table.drop(columns=_SPEED))
    if not table.loc[table["format"] == "openvino", "written"].all():
        raise PipelineError(
            f"OpenVINO's scores are not Keras's:\n{shown(table)}\nPlease report it with the "
            "versions of openvino and tensorflow"
        )
    return table


def shown(table: pd.DataFrame) -> str:
    """The table for people."""
    return str(table.drop(columns="sha256").to_string(index=False, na_rep="–", float_format="%.6g"))


def speeds(table: pd.DataFrame) -> dict[str, float]:
    """Images per second of each runtime, under names for MLflow."""
    measured = table.dropna(subset=[_SPEED])
    return {f"{_SPEED}_{name}": speed for name, speed in measured[["format", _SPEED]].values}


def squares(images: Path, split: str, most: int, size: int) -> Iterator[NDArray[np.float32]]:
    """The resized squares of at most `most` images of a split, spread over it."""
    for image_file in spread(images, split, most):
        with shards.decoding(image_file):
            yield resized(decode(image_file.data), size)


def spread(images: Path, split: str, most: int) -> Iterator[shards.ImageFile]:
    """At most `most` images of a split, at equal distances."""
    total = shards.count(images, split)
    wanted = set(np.linspace(0, total - 1, min(most, total)).astype(int).tolist())
    for group in shards.row_groups(images, split):
        numbers = sorted(wanted & set(range(group.start, group.start + group.rows)))
        if numbers:
            files = shards.read(group)
            yield from (files[number - group.start] for number in numbers)


def _converted(
    network: Any, formats: Sequence[str], images: Path, size: int, folder: Path
) -> tuple[dict[str, runtimes.Score], dict[str, str]]:
    """Write the network in each format.

    Returns:
        Ways to score a square, by format; and why there is none, for formats that failed.
    """
    runs: dict[str, runtimes.Score] = {}
    failed: dict[str, str] = {}
    for name in formats:
        path = folder / FORMATS[name].file
        try:
            if name != "openvino":
                convert(network, name, path, lambda: squares(images, "train", _CALIBRATED, size))
            runs[name] = runtimes.runtime(name, path, size)
        except PipelineError:
            raise
        except Exception as error:  # converters and runtimes raise errors of any kind
            failed[name] = _first_line(error)
    return runs, failed


def _scored(
    runs: dict[str, runtimes.Score], images: Path, most: int, size: int
) -> tuple[NDArray[Any], dict[str, NDArray[Any]], dict[str, list[float]]]:
    """Labels (n,), scores (n,) by each runtime, and the seconds that each image took."""
    labels: list[int] = []
    scores: dict[str, list[float]] = {name: [] for name in runs}
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    total = min(most, shards.count(images, "valid"))
    for image_file in progress.shown(spread(images, "valid", most), total, "compare", "images"):
        labels.append(image_file.label)
        with shards.decoding(image_file):
            square = resized(decode(image_file.data), size)
        for name, score in runs.items():
            started = time.perf_counter()
            scores[name].append(score(square))
            seconds[name].append(time.perf_counter() - started)
    return np.array(labels), {name: np.array(found) for name, found in scores.items()}, seconds


def _speed(seconds: Sequence[float]) -> float:
    """Images per second; the first one, which warms up, does not count if there are others."""
    return float(1 / np.mean(seconds[1:] or seconds))


def _differences(
    labels: NDArray[Any], expected: NDArray[Any], found: NDArray[Any]
) -> dict[str, float]:
    return {
        "score_difference": float(np.abs(found - expected).max()),
        "roc_auc_difference": roc_auc(labels, found) - roc_auc(labels, expected),
    }


def _kept(folder: Path, name: str, row: dict[str, Any], reason: str | None) -> dict[str, Any]:
    """The rest of a row, after a file that is off has been deleted."""
    path = folder / FORMATS[name].file
    if reason is None and not row["score_difference"] <= row["tolerance"]:
        reason = "a score differs by more than the tolerance"
    if reason is not None:
        path.unlink(missing_ok=True)
        return {"written": False, "reason": reason}
    files = [path, path.with_suffix(".bin")] if name == "openvino" else [path]
    size = sum(file.stat().st_size for file in files)
    return {"written": True, "bytes": size, "sha256": sha256_file(files[-1])}


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [repr(error)]
    return f"{type(error).__name__}: {lines[0][:200]}"
