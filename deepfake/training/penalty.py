"""Choose the penalty of the convex head by cross-validation on `train`."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from deepfake.common import progress
from deepfake.common.errors import PipelineError
from deepfake.evaluation.ranking import roc_auc
from deepfake.training import convex_head
from deepfake.training.rows import Rows

# From strong to weak: each starts at the last solution.
GRID = (0.3, 0.1, 0.03, 0.01, 0.003, 0.001, 0.0003, 0.0001)
FOLDS = 5


def cross_validated(
    rows: Rows,
    labels: np.ndarray,
    weights: np.ndarray,
    seed: int,
    *,
    scored: int,
    grid: Sequence[float] = GRID,
) -> tuple[float, pd.DataFrame]:
    """Compare penalties by the log loss of images that were not learnt from.

    The images of `train` are shuffled into `FOLDS` parts of equal shares of both classes. All views
    of an image are in the same part, and an image's logit is the mean over those of its views that
    are not altered, as the image model has it. Whitening and standardisation, which know no labels,
    are those of all of `train`.

    Args:
        rows: of the images, one a view.
        labels: of the images, (n,).
        weights: of the images in the loss, (n,).
        scored: how many of an image's rows, the first ones, are views of the image as it is; the
            others are of altered versions (`embed.augment`).

    Returns:
        The best penalty, and a table with `weight_decay`, `log_loss` and `roc_auc`, and their
        standard errors over the folds, `log_loss_error` and `roc_auc_error`.

    Raises:
        PipelineError: a class has fewer images than there are folds, or a fit does not converge.
    """
    fewest = int(np.bincount(labels, minlength=2).min())
    if fewest < FOLDS:
        raise PipelineError(
            f"train.weight_decay: auto needs {FOLDS} images of each class in train, one for each "
            f"fold, and one class has {fewest}: give a number instead"
        )
    folds = stratified(labels, seed)
    found = []
    with progress.bar(len(grid) * FOLDS, "cross-validate", "fits") as bar:
        for fold in range(FOLDS):
            held_out = folds == fold
            start = None
            for penalty in grid:
                learning = np.where(held_out, 0, weights).repeat(rows.views)
                start = convex_head.solve(
                    rows, labels.repeat(rows.views), learning, penalty, start=start
                )
                of_rows = convex_head.logits(rows, start).reshape(-1, rows.views)
                logits = of_rows[held_out, :scored].mean(axis=1)
                losses = np.logaddexp(0, np.where(labels[held_out] > 0, -logits, logits))
                found.append((penalty, float(losses.mean()), roc_auc(labels[held_out], logits)))
                bar.update()
    fits = pd.DataFrame(found, columns=["weight_decay", "log_loss", "roc_auc"])
    table = fits.groupby("weight_decay").agg(["mean", "sem"])
    table.columns = pd.Index(["log_loss", "log_loss_error", "roc_auc", "roc_auc_error"])
    best = table["log_loss"].to_numpy().argmin()
    return float(table.index.to_numpy()[best]), table.reset_index()


def stratified(labels: np.ndarray, seed: int) -> np.ndarray:
    """The fold, from 0, of each image (n,): each fold has the same share of both classes."""
    generator = np.random.default_rng([seed, 4])
    folds = np.empty(len(labels), dtype="int8")
    for label in (0, 1):
        numbers = generator.permutation(np.flatnonzero(labels == label))
        folds[numbers] = np.arange(len(numbers)) % FOLDS
    return folds
