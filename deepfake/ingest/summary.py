"""TODO of ingest.summary."""

from collections import Counter
from typing import Any

from deepfake.common.errors import PipelineError
from deepfake.common.labels import FAKE, LABEL_NAMES, REAL, SPLITS
from deepfake.ingest.planning import SHOWN
from deepfake.sources.base import Rejected

LISTED = 1000
# In a split with fewer images of one class than this share of the other's, scores that do not
# weigh the classes say little.
IMBALANCE = 0.1


def _near_warnings(near: dict[str, Any]) -> list[str]:
    if not near["train"] + near["valid"]:
        return []
    first = "; ".join(
        f"{pair['path']} like {pair['like_path']} (distance {pair['distance']})"
        for pair in near["pairs"][:SHOWN]
    )
    advice = (
        f"{near['dropped']} of them were dropped from train"
        if near["dropped"]
        else "data.near_duplicates.drop_from_train takes those of train out"
    )
    other = f", {near['other_label']} of them with the other label" if near["other_label"] else ""
    return [
        f"{near['train']} images of train and {near['valid']} of valid look like one of a more "
        f"important split{other}: {first}. {advice[0].upper() + advice[1:]}"
    ]


def _imbalances(counts: Counter[tuple[str, int]]) -> list[str]:
    return [
        f"{split} has {counts[split, REAL]} real and {counts[split, FAKE]} fake images: one "
        "class is more than ten times the other. Look at average precision rather than accuracy; "
        "train.class_weight and baseline.class_weight can be balanced"
        for split in SPLITS
        if min(counts[split, REAL], counts[split, FAKE])
        < IMBALANCE * max(counts[split, REAL], counts[split, FAKE])
    ]


def _check_bad(rejected: list[Rejected], checked: int, limit: float) -> None:
    if len(rejected) <= limit * checked:
        return
    reasons = Counter(item.reason for item in rejected)
    listed = "; ".join(f"{reason}: {number}" for reason, number in sorted(reasons.items()))
    first = "\n  ".join(f"{item.path}: {item.reason}" for item in rejected[:SHOWN])
    raise PipelineError(
        f"{len(rejected)} of {checked} images cannot be used, a fraction of "
        f"{len(rejected) / checked:.4g}; data.max_bad_fraction allows {limit:g}. "
        f"Reasons: {listed}. The first:\n  {first}\n"
        "Mend or remove them, or raise data.max_bad_fraction."
    )


def _bad_report(rejected: list[Rejected], checked: int) -> dict[str, Any]:
    reasons = Counter(item.reason for item in rejected)
    return {
        "count": len(rejected),
        "fraction": len(rejected) / checked,
        "reasons": dict(sorted(reasons.items())),
        "files": [{"path": item.path, "reason": item.reason} for item in rejected[:LISTED]],
    }


def _by_split_and_class(counts: Counter[tuple[str, int]]) -> dict[str, dict[str, int]]:
    return {
        split: {name: counts[split, label] for label, name in LABEL_NAMES.items()}
        for split in SPLITS
    }
