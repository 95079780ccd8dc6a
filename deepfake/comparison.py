"""Both models side by side on the same test pictures."""

from typing import Any

from deepfake.scores import METRICS

# Smaller is better for these; larger for the others.
LOSSES = ("log_loss", "brier", "eer", "ece")


def side_by_side(baseline: dict[str, float], image: dict[str, float]) -> dict[str, Any]:
    """For each metric, what either model reaches on `test`."""
    return {name: {"baseline": baseline[name], "image": image[name]} for name in METRICS}


def verdict(interval: dict[str, float], confidence: float) -> str:
    """One sentence: which model is better on `test` and by how much, or that it cannot be told.

    `interval` is that of `scores.bootstrap_difference`, image model minus baseline.
    """
    low, high = interval["low"], interval["high"]
    span = f"{100 * confidence:g}% interval {low:+.3f} to {high:+.3f}"
    if low > 0 or high < 0:
        better, worse = ("image model", "metadata baseline")
        if high < 0:
            better, worse = worse, better
        return (
            f"On the test pictures the {better} is better than the {worse}, by "
            f"{abs(interval['difference']):.3f} of ROC-AUC (image minus baseline: {span})."
        )
    return (
        "On the test pictures the data cannot tell which model is better: image minus baseline is "
        f"{interval['difference']:+.3f} of ROC-AUC ({span})."
    )


def of_chance(roc_auc: float, reals: int, fakes: int) -> str:
    """How far a ROC-AUC lies from 0.5, by its standard error under chance
    (Hanley and McNeil 1982: (n + 1) / 12 over the product of the class sizes)."""
    error = ((reals + fakes + 1) / (12 * reals * fakes)) ** 0.5
    distance = abs(roc_auc - 0.5) / error
    if distance < 2:
        return "no different from chance"
    direction = "better" if roc_auc > 0.5 else "worse"
    if abs(roc_auc - 0.5) < 0.12:
        return f"a little {direction} than chance"
    return f"far {direction} than chance: the files themselves give the classes away"
