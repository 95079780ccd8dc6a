"""The folder of an exported detector: what `detector.json` says, and whether the files are its."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from deepfake.common.errors import PipelineError
from deepfake.common.files import rounded, sha256_file, write_json

FORMAT = 1  # of the folder; a change that an older reader would misread raises it
FILE = "detector.json"
NETWORK = "network.xml"
WEIGHTS = "network.bin"
HEAD = "head.npz"  # of the detectors that explain their scores
TRAIN_IMAGES = "train_images.txt"


@dataclass(frozen=True)
class Description:
    """What an exported detector is, how its scores are read, and how good they were.

    Attributes:
        name: of the model, such as "probe, MobileNetV2".
        recipe: by which it was trained: `probe`, `transfer` or `cnn`.
        image_size: pixels; side of the square that the network sees.
        temperature: by which the logit is divided; the network does that itself.
        threshold, lower, upper, error_rate, notes: see `evaluation.decision.Decision`.
        evaluation: the metrics on `test` (`{"roc_auc": {"value", "low", "high"}, ...}`), with
            95% intervals or those of `compare.confidence`; on the test images of each `source`, and
            on `external` data sets; and the number of `images`.
        trained_on: `sources` (names), `images` (`{"real": n, "fake": n}`) and `weights` (what the
            backbone was trained on).
        explanation: how a score is explained; `{"method": None, "why": ...}` where it is not.
        files: the SHA-256 of each file of the folder.
        digest: SHA-256 of all of the above, by which a detector is known.
    """

    name: str
    recipe: str
    image_size: int
    temperature: float
    threshold: float
    lower: float
    upper: float
    error_rate: float
    notes: tuple[str, ...]
    evaluation: dict[str, Any]
    trained_on: dict[str, Any]
    explanation: dict[str, Any]
    files: dict[str, str]
    digest: str


def write(folder: Path, values: Mapping[str, Any], files: Iterable[str]) -> Description:
    """Write `detector.json`, last, so that a folder without it is not complete.

    Args:
        folder: that has the files.
        values: all fields of `Description` but `files` and `digest`.
        files: names of the files that belong to the detector.
    """
    known = {**rounded(dict(values)), "files": {name: sha256_file(folder / name) for name in files}}
    content = {"format": FORMAT, **known}
    write_json(folder / FILE, {**content, "digest": _digest(content)})
    return read(folder)


def read(folder: Path) -> Description:
    """Read what `write` wrote, and check every file of the folder.

    Raises:
        PipelineError: the folder is no detector, is one of another version, or a file of it is
            missing or was changed.
    """
    content = _content(folder)
    if content.get("format") != FORMAT:
        raise PipelineError(
            f"{folder}: a detector of format {content.get('format')!r}, and this version reads "
            f"format {FORMAT}: export it again, or install the version that wrote it"
        )
    said = content.pop("digest", None)
    if said != _digest(content):
        raise PipelineError(
            f"{folder / FILE} was changed after the detector was exported: its digest does not "
            "fit. Export the detector again, or copy the whole folder again"
        )
    _check_files(folder, content["files"])
    del content["format"]
    return Description(**{**content, "notes": tuple(content["notes"]), "digest": said})


def _content(folder: Path) -> dict[str, Any]:
    """What `detector.json` holds."""
    wanted = {one.name for one in fields(Description)} | {"format"}
    try:
        content = json.loads((folder / FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise PipelineError(
            f"{folder} has no {FILE}, so it is not an exported detector: name the folder that the "
            "stage `export` wrote, such as data/detector (`dvc repro export` makes it)"
        ) from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not JSON"
        raise PipelineError(f"cannot read {folder / FILE}: {reason}") from None
    if not isinstance(content, dict) or ("format" in content and content["format"] != FORMAT):
        return content if isinstance(content, dict) else {}
    if set(content) != wanted:
        raise PipelineError(f"{folder / FILE} is incomplete: copy the whole folder again")
    return content


def _check_files(folder: Path, files: Mapping[str, str]) -> None:
    for name, expected in files.items():
        try:
            found = sha256_file(folder / name)
        except OSError as error:
            raise PipelineError(
                f"{folder / name}, a file of the detector, cannot be read: {error.strerror}. Copy "
                "the whole folder again"
            ) from None
        if found != expected:
            raise PipelineError(
                f"{folder / name} is not the file that was exported: its SHA-256 begins with "
                f"{found[:12]} instead of {expected[:12]}. Copy the whole folder again"
            )


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def as_dict(description: Description) -> dict[str, Any]:
    """All fields, ready for JSON."""
    return asdict(description)
