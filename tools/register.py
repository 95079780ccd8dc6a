"""Put the current image model into MLflow's registry and make it the champion, if it is better:
`make register`. `make rollback` makes the champion before it the champion again.

What decides is ROC-AUC on `valid`, by the paired interval of the difference. The metrics of `test`
are written beside the model and decide nothing.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from deepfake import params
from deepfake.common import paths
from deepfake.common.environment import repository
from deepfake.common.errors import PipelineError, command
from deepfake.common.files import read_json, sha256_file
from deepfake.common.progress import shown
from deepfake.data import shards
from deepfake.evaluation.comparison import bootstrap_difference
from deepfake.evaluation.predictions import predictions, read_predictions
from deepfake.exporting.export import image_key
from deepfake.params import Params
from deepfake.serving import description, registry
from deepfake.serving.detector import Detector, NamedImage
from deepfake.tracking import champions
from deepfake.tracking.failures import required
from deepfake.tracking.store import Found, find
from deepfake.tracking.waiting import allow, locked

_T = TypeVar("_T")


@command
def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.register", description=__doc__)
    parser.add_argument("--rollback", action="store_true", help="go back to the champion before")
    rollback = parser.parse_args().rollback
    settings = params.load()
    allow(settings.tracking.deadline_seconds)
    with required("MLflow's registry could not be used at"), _alone():
        print(_back(settings) if rollback else register(settings))


def register(settings: Params) -> str:
    """Register the image model of the workspace, if it is better; returns what to tell the user.

    Raises:
        PipelineError: it is not, or what is needed to tell is missing.
    """
    name = settings.tracking.experiment
    digest = _read(paths.DETECTOR, sha256_file)
    known = champions.version_of(name, digest)
    if known is not None:
        return (
            f"this model is registered already, as version {known} of {name}; the champion is "
            f"version {champions.champion(name)}"
        )
    row = _row(settings, digest)
    image = _valid("image")
    told = [_better(settings, image, _valid("baseline"), "the baseline")]
    before = champions.champion(name)
    if before is not None:
        scored = _scored_by(f"models:/{name}/{before}", image)
        told.append(_better(settings, image, scored, f"version {before}, the champion,"))
    version = champions.add(name, row, _facts())
    return "\n".join([*told, f"version {version} of {name} is the champion now"])


def _back(settings: Params) -> str:
    former, now = champions.back(settings.tracking.experiment)
    return f"version {now} is the champion again; version {former} stays in the registry"


def _row(settings: Params, detector_sha256: str) -> Found:
    """The row of the image model, with its exported detector."""
    rows = find(settings.tracking, row="image", detector_sha256=detector_sha256, current="true")
    for row in rows:
        if "exported_sha256" in row.tags:
            return row
    raise PipelineError(f"MLflow does not have the model {paths.DETECTOR} yet: run `make sync`")


def _better(settings: Params, image: pd.DataFrame, other: pd.DataFrame, name: str) -> str:
    """Say by how much the image model is better on `valid`.

    Raises:
        PipelineError: it is not, beyond the interval.
    """
    chosen = settings.compare
    found = bootstrap_difference(
        other,
        image,
        samples=chosen.bootstrap_samples,
        confidence=chosen.confidence,
        seed=settings.seed,
    )
    told = (
        f"on valid, the ROC-AUC of the image model less that of {name} is "
        f"{found['difference']:+.4f} ({chosen.confidence:.0%} interval {found['low']:+.4f} to "
        f"{found['high']:+.4f})"
    )
    if found["low"] <= 0:
        raise PipelineError(f"not registered: {told}, which may be none")
    return told


def _scored_by(source: str, image: pd.DataFrame) -> pd.DataFrame:
    """The predictions of a registered detector for the images of `valid`.

    Args:
        image: the predictions of the model that it is compared with.

    Raises:
        PipelineError: it was trained on some of the images.
    """
    folder = registry.fetch(source)
    trained = set((folder / description.TRAIN_IMAGES).read_text(encoding="utf-8").split())
    seen = sum(image_key(one.data) in trained for one in shards.image_files(paths.IMAGES, "valid"))
    if seen:
        raise PipelineError(
            f"not registered: {source} was trained on {seen} of the {len(image)} images of valid, "
            "so a comparison on them would favour it. Use a split in which they are in train"
        )
    files = shards.image_files(paths.IMAGES, "valid")
    named = (NamedImage(one.image_id, one.data) for one in files)
    found = list(shown(Detector(folder).stream(named), len(image), "champion", "images"))
    scores = np.array([np.nan if one.score is None else one.score for one in found])
    ids = [one.name for one in found]
    return predictions(ids, image["label"].to_numpy(), scores, ids)


def _facts() -> dict[str, Any]:
    """The tags of a version: the metrics of both splits, rounded as in the metrics file."""
    metrics = _read(paths.metrics_file("image"), read_json)
    return {
        f"{split}_{metric}": value
        for split, values in metrics.items()
        for metric, value in values.items()
    }


def _valid(model: str) -> pd.DataFrame:
    return _read(paths.predictions(model) / "valid.csv", read_predictions)


def _read(path: Path, read: Callable[[Path], _T]) -> _T:
    try:
        return read(path)
    except FileNotFoundError:
        raise PipelineError(f"{path} is missing: run `make repro`, which writes it") from None


def _alone() -> Any:
    """Let one process at a time change the registry."""
    return locked(repository() / "cache" / "register.lock")


if __name__ == "__main__":
    main()
