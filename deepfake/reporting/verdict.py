"""The sentences that say which model is better, and how far a model is from chance."""


def verdict(interval: dict[str, float], confidence: float) -> str:
    """One sentence: which model is better on `test` and by how much, or that it cannot be told.

    `interval` is that of `bootstrap_difference`, image model minus baseline.
    """
    low, high = interval["low"], interval["high"]
    span = f"{100 * confidence:g}% interval {low:+.3f} to {high:+.3f}"
    if low > 0 or high < 0:
        better, worse = ("image model", "metadata baseline")
        if high < 0:
            better, worse = worse, better
        return (
            f"On the test images the {better} is better than the {worse}, by "
            f"{abs(interval['difference']):.3f} in ROC-AUC (image minus baseline: {span})."
        )
    return (
        "The test images do not show which model is better: image minus baseline is "
        f"{interval['difference']:+.3f} in ROC-AUC ({span})."
    )


def of_chance(roc_auc: float, reals: int, fakes: int) -> str:
    """Say how far a ROC-AUC lies from 0.5, in standard errors under chance.

    The variance is (n + 1) / 12 over the product of the class sizes (Hanley and McNeil 1982).
    """
    error = ((reals + fakes + 1) / (12 * reals * fakes)) ** 0.5
    distance = abs(roc_auc - 0.5) / error
    if distance < 2:
        return "no different from chance"
    direction = "better" if roc_auc > 0.5 else "worse"
    if abs(roc_auc - 0.5) < 0.12:
        return f"a little {direction} than chance"
    return f"far {direction} than chance: the files themselves give the classes away"
