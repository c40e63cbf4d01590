"""How far a segment's own model is to be believed, against one fitted on everybody."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["shrunk_weights", "stacked_weight", "stderr_of_sum"]

Vector = NDArray[np.float64]
SMALLEST = 1e-200  # of a variance: its inverse is still a number


def stacked_weight(
    departure: Vector, residual: Vector, weight: Vector, clusters: NDArray[np.intp] | None = None
) -> tuple[float, float]:
    """The weight w of a segment's own model that its held-out rows ask for, and its standard error.

    With d = τ̂_own − τ̂_global and r = Γ − τ̂_global, both held out and Γ the doubly robust score of the effect, the w
    with the least E[(Γ − τ̂_global − w·d)²] is E[d·r] / E[d²] (stacking: Wolpert 1992; Breiman 1996). As E[Γ | x] is the
    effect, so is it the w with the least error in the effect itself.

    Args:
        departure: (m, k) d of the segment's rows under the treatments, 0 where a treatment was impossible.
        residual: (m, k) r, likewise.
        weight: (m,) row weights.
        clusters: (m,) codes of units that repeat.

    Returns:
        (0, inf) where the two models nowhere differ: the rows say nothing.
    """
    square = float(weight @ (departure**2).sum(axis=1))
    if square <= 0:
        return 0.0, float("inf")
    estimate = float(weight @ (departure * residual).sum(axis=1)) / square
    moved = weight * (departure * (residual - estimate * departure)).sum(axis=1)
    return estimate, stderr_of_sum(moved, clusters) / square


def shrunk_weights(estimates: Sequence[float], stderrs: Sequence[float]) -> list[float]:
    """Each segment's weight drawn to what the segments have in common, and held within 0 and 1.

    Empirical Bayes with w_s ~ N(m, A): w = m + A / (A + se²) · (ŵ_s − m), A by the moments of DerSimonian and Laird
    (1986), m the mean weighted by 1 / (A + se²) (Morris 1983). A segment whose rows say nothing (infinite se) gets m.
    """
    raw, variance = np.asarray(estimates, dtype=np.float64), np.asarray(stderrs, dtype=np.float64) ** 2
    told = np.isfinite(variance)
    if not told.any():
        return [0.0] * raw.size
    between = _between(raw[told], np.maximum(variance[told], SMALLEST))
    precision = 1.0 / np.maximum(between + variance, SMALLEST)
    common = float(precision @ raw / precision.sum())
    kept = np.zeros(raw.size)
    np.divide(between, between + variance, out=kept, where=told & (between + variance > 0))
    return [float(w) for w in np.clip(common + kept * (raw - common), 0.0, 1.0)]


def _between(raw: Vector, variance: Vector) -> float:
    """Variance of the segments' true weights: (Q − (S − 1)) / (Σp − Σp²/Σp), never below 0, with p = 1/se²."""
    if raw.size < 2:
        return 0.0
    p = 1.0 / variance
    p /= p.max()  # se of 0 would overflow its square
    q = float(p @ (raw - p @ raw / p.sum()) ** 2)
    excess = q - (raw.size - 1) * float(variance.min())
    spread = float(p.sum() - (p @ p) / p.sum())  # 0 where one segment alone tells anything
    return max(0.0, excess / spread) if spread > 0 else 0.0


def stderr_of_sum(moved: Vector, clusters: NDArray[np.intp] | None) -> float:
    """Standard error of the sum of (n,) terms of mean about 0, independent by row or by cluster.

    √(C/(C − 1) · Σ_c (Σ_{i in c} ψ_i)²) (Liang, Zeger 1986); infinite for a single cluster.
    """
    parts = moved if clusters is None else np.bincount(np.unique(clusters, return_inverse=True)[1], weights=moved)
    return float(np.sqrt(parts.size / (parts.size - 1) * (parts @ parts))) if parts.size > 1 else float("inf")
