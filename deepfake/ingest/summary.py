"""Build the report of `ingest`: counts, unusable images, duplicates and warnings."""

from collections import Counter
from typing import Any

from deepfake.common.errors import PipelineError
from deepfake.common.labels import FAKE, LABEL_NAMES, REAL, SPLITS
from deepfake.common.text import shown
from deepfake.ingest.duplicates import EXAMPLES
from deepfake.ingest.planning import Plan
from deepfake.sources.base import Rejected

# At most this many unusable files, and as many near-duplicate pairs, are listed one by one.
LISTED = 1000
# Where one class has less than this fraction of the images of the other, accuracy says little.
IMBALANCE = 0.1


def make_report(
    source: dict[str, Any],
    plan: Plan,
    counts: Counter[tuple[str, int]],
    rejected: list[Rejected],
    near: dict[str, Any],
) -> dict[str, Any]:
    """Build the content of `report.json`.

    Args:
        source: the source's own description.
        counts: images written, by split and label.
        rejected: all unusable images, those of the plan and those found while reading.
        near: what `near_duplicates_report` returned.
    """
    checked = len(plan.placed) + len(plan.rejected)
    return {
        "source": source,
        "counts": _by_split_and_class(counts),
        "checked": checked,
        "bad": bad_report(rejected, checked),
        "duplicates": plan.duplicates,
        "near_duplicates": near,
        "left_out": plan.left_out,
        "warnings": [*plan.warnings, *_near_warnings(near), *_imbalance_warnings(counts)],
    }


def check_bad(rejected: list[Rejected], checked: int, limit: float) -> None:
    """Raise PipelineError if more than a fraction of the images cannot be used.

    Args:
        checked: how many images were looked at, the rejected ones included.
        limit: the fraction allowed, 0 to 1 (`data.max_bad_fraction`).
    """
    if not too_many(len(rejected), checked, limit):
        return
    reasons = Counter(item.reason for item in rejected)
    listed = "; ".join(f"{reason}: {number}" for reason, number in sorted(reasons.items()))
    first = "\n  ".join(f"{shown(item.path)}: {item.reason}" for item in rejected[:EXAMPLES])
    raise PipelineError(
        f"{len(rejected)} of {checked} images cannot be used, a fraction of "
        f"{len(rejected) / checked:.4g}; data.max_bad_fraction allows {limit:g}. "
        f"Reasons: {listed}. The first:\n  {first}\n"
        "Repair or remove them, or raise data.max_bad_fraction."
    )


def too_many(rejected: int, checked: int, limit: float) -> bool:
    """Whether more than the fraction `limit` of the images cannot be used."""
    # A product would be rounded: 0.29 * 100 is below 29.
    return checked > 0 and rejected / checked > limit


def near_duplicates_report(
    pairs: list[dict[str, Any]], max_distance: int, dropped: int
) -> dict[str, Any]:
    """Count near-duplicate pairs.

    Args:
        pairs: as `HashesBySplit.near_duplicates` returns them.
        max_distance: the largest distance of a pair, in bits.
        dropped: how many images of `train` were left out because of this.
    """
    counts = Counter(pair["split"] for pair in pairs)
    return {
        "max_distance": max_distance,
        "train": counts["train"],
        "valid": counts["valid"],
        "other_label": sum(pair["label"] != pair["like_label"] for pair in pairs),
        "dropped": dropped,
        "pairs": pairs[:LISTED],
    }


def imbalanced(real: int, fake: int) -> bool:
    """Whether one class has less than the fraction `IMBALANCE` of the images of the other."""
    return min(real, fake) < IMBALANCE * max(real, fake)


def _by_split_and_class(counts: Counter[tuple[str, int]]) -> dict[str, dict[str, int]]:
    return {
        split: {name: counts[split, label] for label, name in LABEL_NAMES.items()}
        for split in SPLITS
    }


def bad_report(rejected: list[Rejected], checked: int) -> dict[str, Any]:
    """Count unusable images, by reason, of the `checked` that were looked at; list the first."""
    reasons = Counter(item.reason for item in rejected)
    return {
        "count": len(rejected),
        "fraction": len(rejected) / checked,
        "reasons": dict(sorted(reasons.items())),
        "files": [{"path": item.path, "reason": item.reason} for item in rejected[:LISTED]],
    }


def _near_warnings(near: dict[str, Any]) -> list[str]:
    if not near["train"] + near["valid"]:
        return []
    first = "; ".join(
        f"{pair['path']} like {pair['like_path']} (distance {pair['distance']})"
        for pair in near["pairs"][:EXAMPLES]
    )
    advice = (
        f"{near['dropped']} of them were dropped from train"
        if near["dropped"]
        else "set data.near_duplicates.drop_from_train=true to leave those of train out"
    )
    other = f", {near['other_label']} of them with the other label" if near["other_label"] else ""
    return [
        f"{near['train']} images of train and {near['valid']} of valid look like one of a more "
        f"important split{other}: {first}. {advice}"
    ]


def _imbalance_warnings(counts: Counter[tuple[str, int]]) -> list[str]:
    return [
        f"{split} has {counts[split, REAL]} real and {counts[split, FAKE]} fake images: one "
        "class is more than ten times the other. Look at average precision rather than accuracy; "
        "train.class_weight and baseline.class_weight can be balanced"
        for split in SPLITS
        if imbalanced(counts[split, REAL], counts[split, FAKE])
    ]
