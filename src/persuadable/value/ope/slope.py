"""Choosing how strongly to clip, switch or shrink from the data alone: SLOPE."""

from __future__ import annotations

import numpy as np

from persuadable.errors import ParameterError
from persuadable.value.estimate import Floats

__all__ = ["paired_slope"]


def paired_slope(values: Floats, covariance: Floats, z: float = 2.0) -> int:
    """Which of several estimates of the same rounds to trust: the last one that agrees with all before it.

    This is SLOPE (Su, Srinath and Krishnamurthy 2020), Lepski's principle for estimates in the order of growing bias
    and falling variance, with one change. The paper lets two agree where their own confidence intervals do; here they
    agree where |θ_i − θ_j| is at most z times the standard error of θ_i − θ_j. Estimates that differ only in how
    strongly they shrink the same weights err together, so the difference shows bias that the sum of two widths hides.
    Where q̂ is off this shrinks less, and errs less, than the paper's rule; where q̂ is nearly right it gains less.
    The interval of the estimate chosen knows neither its bias nor the choosing.

    Args:
        values: (k,) estimates in the order of growing bias.
        covariance: (k, k) of their errors.
        z: how many standard errors are still agreement.

    Returns:
        its place, from 0.

    Raises:
        ParameterError: nothing to choose from, or a covariance of another shape.
    """
    count = len(values)
    if not count or covariance.shape != (count, count):
        raise ParameterError(
            f"SLOPE was given {count} estimates and a covariance of shape {covariance.shape}",
            remedy="Pass the covariance of all estimates.",
        )
    if np.isinf(covariance).any():  # a single unit: nothing is known of any error, so nothing speaks for more bias
        return 0
    apart = np.abs(np.subtract.outer(values, values))
    variance = np.diagonal(covariance)
    error = np.sqrt(np.maximum(np.add.outer(variance, variance) - 2 * covariance, 0.0))
    # Estimates that are one and the same differ by rounding alone.
    agreeing = apart <= z * error + 1e-12 * np.abs(values).max()
    alone = np.array([agreeing[i, :i].all() for i in range(count)])
    return int(count - 1 if alone.all() else np.argmin(alone) - 1)
