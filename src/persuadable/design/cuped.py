"""Taking out of an outcome what was known of it beforehand (CUPED)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from persuadable.errors import DataError

__all__ = ["ArmMeans", "adjusted_means", "variance_reduction", "weighted_line"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class ArmMeans:
    """Mean outcome of each of k arms had all n rows been in it.

    Attributes:
        means: (k,) in outcome units.
        psi: (k, n) influence functions, row weights not multiplied in: variances, also of differences, follow.
        explained: (k,) adjusted R² of the covariates in each arm; 0 without them, below 0 where they only add noise.
    """

    means: Floats
    psi: Floats
    explained: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Line:
    """A weighted least-squares fit with intercept.

    Attributes:
        fitted: (n,) predictions for all rows, those without weight too.
        rank: coefficients fitted, the intercept included.
        explained: adjusted R² among the rows with weight.
    """

    fitted: Floats
    rank: int
    explained: float


def adjusted_means(
    y: ArrayLike,
    arm: ArrayLike,
    propensity: ArrayLike,
    covariates: ArrayLike | None = None,
    weight: ArrayLike | None = None,
) -> ArmMeans:
    """Arm means adjusted for covariates that the arms could not have changed.

    In each arm the outcome is regressed on the covariates, with weights weight/e, and its mean is the mean of the
    predictions m_k over all rows: Lin's (2013) interacted adjustment, which never loses precision in large samples;
    with one covariate and even arms it is CUPED (Deng, Xu, Kohavi and Walker 2013). A model's prediction, made from
    what was known before and fitted on other rows, is a covariate like any other. The influence function is

        ψ_k = m_k(x) − μ_k + 1{arm = k}/e_k · (y − m_k(x)) / mean(1{arm = k}/e_k),

    the residuals widened by √(n_k/(n_k − coefficients)). Without covariates these are the (Hájek) means of the arms.

    Args:
        y: (n,) outcome.
        arm: (n,) codes 0 … k − 1; −1 for rows in another arm, which then only help to know the covariates.
        propensity: (n, k) probability of each arm, or its share.
        covariates: (n, d) or (n,), known before the arm was drawn.
        weight: (n,) row weights.

    Raises:
        DataError: shapes that do not match, covariates that are not finite, or an arm with too few rows.
    """
    outcome, codes = np.asarray(y, dtype=np.float64), np.asarray(arm, dtype=np.intp)
    e = np.asarray(propensity, dtype=np.float64)
    n = outcome.shape[0]
    if codes.shape != (n,) or e.ndim != 2 or e.shape[0] != n:
        raise DataError(
            f"y has {n} rows, arm has shape {codes.shape} and propensity {e.shape}",
            remedy="Pass (n,) outcomes and codes, and (n, k) probabilities.",
        )
    x = _covariates(covariates, n)
    base = np.ones(n) if weight is None else np.asarray(weight, dtype=np.float64)
    means, psi, explained = np.empty(e.shape[1]), np.empty((e.shape[1], n)), np.empty(e.shape[1])
    for k in range(e.shape[1]):
        inverse = np.divide(codes == k, e[:, k], out=np.zeros(n), where=codes == k)
        line = weighted_line(outcome, x, base * inverse, f"arm {k}")
        rows = int(np.count_nonzero(codes == k))
        means[k] = np.average(line.fitted, weights=base)
        residual = inverse / np.average(inverse, weights=base) * (outcome - line.fitted)
        psi[k] = line.fitted - means[k] + residual * np.sqrt(rows / (rows - line.rank))
        explained[k] = line.explained
    return ArmMeans(means, psi, explained)


def variance_reduction(
    y: ArrayLike, covariates: ArrayLike, arm: ArrayLike | None = None, weight: ArrayLike | None = None
) -> float:
    """Share of the variance of a difference of means that the covariates take away, 0 where they do not help.

    1 − Σ_k s²_k(1 − R²_k)/n_k ÷ Σ_k s²_k/n_k, with adjusted R². Plan with it: the sample shrinks by the same share.

    Args:
        y: (n,) outcome in an earlier experiment, or of a period in which nobody was treated.
        covariates: (n, d) or (n,), known before: the same outcome a period earlier, or a model's prediction.
        arm: (n,) codes of the arms, if there were any.
        weight: (n,) row weights.

    Raises:
        DataError: shapes that do not match, covariates that are not finite, or an arm with too few rows.
    """
    outcome = np.asarray(y, dtype=np.float64)
    n = outcome.shape[0]
    x = _covariates(covariates, n)
    codes = np.zeros(n, dtype=np.intp) if arm is None else np.asarray(arm, dtype=np.intp)
    base = np.ones(n) if weight is None else np.asarray(weight, dtype=np.float64)
    before = after = 0.0
    for k in np.unique(codes):
        within = base * (codes == k)
        line = weighted_line(outcome, x, within, f"arm {k}")
        centre = np.average(outcome, weights=within)
        noise = float(np.average((outcome - centre) ** 2, weights=within)) / float(np.count_nonzero(codes == k))
        before, after = before + noise, after + noise * (1 - line.explained)
    return max(0.0, 1 - after / before) if before > 0 else 0.0


def weighted_line(y: Floats, x: Floats, weight: Floats, name: str = "the rows") -> Line:
    """Weighted least squares of y on an intercept and x; collinear columns count once.

    Args:
        y: (n,) outcome.
        x: (n, d) covariates.
        weight: (n,) weights, 0 for rows to be predicted only.
        name: what messages call the rows with weight.

    Raises:
        DataError: not more rows with weight than coefficients.
    """
    count = int(np.count_nonzero(weight))
    if count < 2:
        raise DataError(f"{name} has {count} rows", remedy="A mean with a standard error needs two or more.")
    share = weight / weight.sum()
    centre, level = share @ x, float(share @ y)
    z = x - centre
    spread = np.sqrt(share @ z**2)
    keep = spread > 1e-12 * (1 + np.abs(centre))
    z = z[:, keep] / spread[keep]
    weighted = share[:, None] * z
    # The columns have variance 1, so the normal equations lose nothing that matters.
    slope, _, rank, _ = np.linalg.lstsq(weighted.T @ z, weighted.T @ (y - level), rcond=1e-10)
    rank = int(rank) + 1
    if count <= rank:
        raise DataError(
            f"{name} has {count} rows for {rank} coefficients", remedy="Pass fewer covariates, or wait for more rows."
        )
    fitted = level + z @ slope
    total = float(share @ (y - level) ** 2)
    left = float(share @ (y - fitted) ** 2) / total if total > 0 else 1.0
    return Line(fitted, rank, 1 - left * (count - 1) / (count - rank))


def _covariates(covariates: ArrayLike | None, n: int) -> Floats:
    if covariates is None:
        return np.empty((n, 0))
    x = np.asarray(covariates, dtype=np.float64)
    x = x[:, None] if x.ndim == 1 else x
    if x.ndim != 2 or x.shape[0] != n:
        raise DataError(f"covariates have shape {x.shape}, expected ({n}, d)", remedy="Pass one row per row of y.")
    wrong = ~np.isfinite(x)
    if wrong.any():
        row, column = (int(i[0]) for i in np.nonzero(wrong))
        raise DataError(
            f"A covariate is {x[row, column]}",
            where=f"row {row}, column {column}",
            remedy="Fill in missing values, with the mean and an indicator of its own.",
        )
    return x
