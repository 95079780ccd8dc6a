"""A head without hidden layers is a logistic regression, and is solved instead of trained.

The loss is convex, its gradient exact. There is no order of batches, no learning rate and no epoch:
two machines meet at the same optimum.
"""

from collections.abc import Callable

import numpy as np
from scipy.optimize import OptimizeResult, minimize

from deepfake.common.errors import PipelineError
from deepfake.training.rows import Rows

TOLERANCE = 1e-6  # of the largest entry of the gradient, where the loss is about 0.1 to 0.7
MOST_ITERATIONS = 2000


def solve(
    rows: Rows,
    labels: np.ndarray,
    weights: np.ndarray,
    penalty: float,
    *,
    start: np.ndarray | None = None,
    on_iteration: Callable[[np.ndarray], None] = lambda solution: None,
) -> np.ndarray:
    """Minimise the mean weighted log loss plus `penalty / 2` times the squared kernel.

    By L-BFGS (Liu and Nocedal 1989) from 0 or from `start`, in float64, over blocks of rows.

    Args:
        rows: n rows of d features.
        labels: of the rows, (n,), 1 for fake.
        weights: of the rows in the loss, (n,); 0 leaves a row out.
        penalty: at least 0; the bias is free.
        start: an earlier solution.
        on_iteration: called with the solution so far.

    Returns:
        The solution (d + 1,) float64: the kernel, then the bias.

    Raises:
        PipelineError: there is no optimum, because nothing penalises a kernel that separates the
            classes; or it is not reached after `MOST_ITERATIONS`.
    """
    total = weights.sum()

    def loss(solution: np.ndarray) -> tuple[float, np.ndarray]:
        value, slope = 0.0, np.zeros_like(solution)
        # In single precision the loss would be too coarse for the last steps.
        for place, part in rows.parts():
            x = part @ solution[:-1] + solution[-1]
            y, w = labels[place], weights[place] / total
            value += float(w @ np.logaddexp(0, np.where(y > 0, -x, x)))
            residual = w * ((1 + np.tanh(x / 2)) / 2 - y)
            slope[:-1] += residual @ part
            slope[-1] += residual.sum()
        slope[:-1] += penalty * solution[:-1]
        return value + penalty / 2 * float(solution[:-1] @ solution[:-1]), slope

    def progressed(intermediate_result: OptimizeResult) -> None:
        on_iteration(intermediate_result.x)

    found = minimize(
        loss,
        np.zeros(rows.shape[1] + 1) if start is None else start,
        jac=True,
        method="L-BFGS-B",
        callback=progressed,
        options={
            "gtol": TOLERANCE,
            "ftol": 0,
            "maxiter": MOST_ITERATIONS,
            "maxfun": 2 * MOST_ITERATIONS,
            "maxcor": 10,
        },
    )
    slope = float(np.abs(found.jac).max())
    if not slope <= 10 * TOLERANCE:  # rounding may end it a little above the tolerance
        raise PipelineError(
            f"train: the head did not converge within {found.nit} iterations (gradient "
            f"{slope:.1e}, {TOLERANCE:.0e} wanted) under train.weight_decay {penalty:g}: give a "
            "larger one"
        )
    if penalty == 0:
        _require_overlap(rows, labels, weights, found.x)
    return np.asarray(found.x)


def _require_overlap(
    rows: Rows, labels: np.ndarray, weights: np.ndarray, solution: np.ndarray
) -> None:
    """Refuse rows that a kernel separates: the longer it is, the smaller the loss, without end."""
    learnt = weights > 0
    found = logits(rows, solution)[learnt]
    if found[labels[learnt] > 0].min() > found[labels[learnt] == 0].max():
        raise PipelineError(
            "train.weight_decay: received 0, and the classes of train can be separated, so that "
            "nothing bounds the head's weights: give a penalty, such as 0.001, or auto"
        )


def logits(rows: Rows, solution: np.ndarray) -> np.ndarray:
    """Logits of all rows, (n,) float64; the products are computed in single precision."""
    kernel = solution[:-1].astype("float32")
    found = np.concatenate([block @ kernel for _, block in rows.blocks()])
    return np.asarray(found.astype("float64") + solution[-1])
