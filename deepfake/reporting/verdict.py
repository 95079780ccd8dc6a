"""The sentences that say which model is better, how far a model is from chance, and what about
the result is to be doubted."""

from collections.abc import Sequence
from typing import Any

SUSPICIOUS = 0.9995  # from here on a ROC-AUC is printed as 1.000
_RANDOM_WEIGHTS = (
    "The backbone has **random weights**, and the images are not the drawn sample. In photographs "
    "ImageNet's weights find far more: run `dvc exp run -S backbone.weights=imagenet`. Keras "
    "downloads them, or takes them from the folder `$KERAS_HOME/models` (by default "
    "`~/.keras/models`)."
)


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


def warnings(
    data: dict[str, Any],
    backbone: dict[str, Any],
    roc_auc: dict[str, float],
    features: Sequence[str],
) -> list[str]:
    """What speaks against the result, or against how it was made; usually nothing.

    Args:
        data: the summary of the data.
        backbone: the summary of the backbone.
        roc_auc: of `baseline` and `image` on test.
        features: what the baseline relies on, most important first.
    """
    found = []
    if data["source"]["name"] != "sample" and backbone["weights"] == "random":
        found.append(_RANDOM_WEIGHTS)
    if roc_auc["baseline"] >= SUSPICIOUS:
        found.append(
            f"{_too_good('metadata baseline', roc_auc['baseline'])} The files give the classes "
            "away without a look at a pixel, and the image model may have learnt the same. See by "
            f"which features in `plots/coefficients.png` (first of all {', '.join(features[:3])}), "
            "and make the files of both classes alike, or take them from one source."
        )
    if roc_auc["image"] >= SUSPICIOUS:
        found.append(
            f"{_too_good('image model', roc_auc['image'])} Look for images of test that are in "
            "train, too, cropped or resized (`near_duplicates` in `data/metadata/summary.json`), "
            "for a class that comes from one camera, site or program, and for files that are "
            "encoded differently in each class. `make inspect DATA=…` shows what it can of these."
        )
    return found


def _too_good(model: str, roc_auc: float) -> str:
    return f"The {model}'s ROC-AUC of {roc_auc:.3f} on test is **suspicious**."
