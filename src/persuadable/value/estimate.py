"""One number with its uncertainty, and how an influence function becomes a standard error."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from persuadable.errors import ParameterError

__all__ = ["Estimate", "cluster_codes", "influence_covariance", "influence_stderr", "normal_quantile"]

Floats = NDArray[np.float64]
Codes = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number estimated from a log, with its interval.

    Attributes:
        value: the estimate.
        stderr: its standard error.
        interval: (lower, upper) of the 1 − alpha interval.
        alpha: probability the interval is meant to miss.
        n: rows it rests on.
        ess: effective sample size, where rows count unequally.
        name: what is estimated.
        unit: in what it is measured.
        tested: whether 0 is a question, asked of a normal distribution: printing then tells p. Not so for the level of
            a policy, which nobody thinks is 0, nor beside an interval of another kind, which p might contradict.
    """

    value: float
    stderr: float
    interval: tuple[float, float]
    alpha: float
    n: int
    ess: float | None = None
    name: str = ""
    unit: str = ""
    tested: bool = True

    @classmethod
    def normal(
        cls,
        value: float,
        stderr: float,
        *,
        alpha: float = 0.05,
        n: int,
        ess: float | None = None,
        name: str = "",
        unit: str = "",
        tested: bool = True,
    ) -> Estimate:
        """An estimate with the interval value ± z · stderr.

        Raises:
            ParameterError: alpha outside (0, 0.5].
        """
        value, stderr = float(value), float(stderr)
        half = normal_quantile(alpha) * stderr
        return cls(value, stderr, (value - half, value + half), alpha, n, ess, name, unit, tested)

    @classmethod
    def from_influence(
        cls,
        value: float,
        psi: NDArray[Any],
        alpha: float = 0.05,
        clusters: NDArray[Any] | None = None,
        weight: NDArray[Any] | None = None,
        *,
        ess: float | None = None,
        name: str = "",
        unit: str = "",
        tested: bool = True,
    ) -> Estimate:
        """An estimate whose standard error comes from its influence function (n,); see ``influence_stderr``."""
        stderr = influence_stderr(psi, clusters=clusters, weight=weight)
        return cls.normal(value, stderr, alpha=alpha, n=int(psi.shape[0]), ess=ess, name=name, unit=unit, tested=tested)

    @property
    def p_value(self) -> float:
        """Two-sided p-value against 0 of the normal approximation value/stderr, whatever kind the interval is."""
        if self.stderr == 0:
            return 1.0 if self.value == 0 else 0.0
        return float(2 * ndtr(-abs(self.value) / self.stderr))

    def __str__(self) -> str:
        lower, upper = self.interval
        label = f"{self.name}: " if self.name else ""
        unit = f" {self.unit}" if self.unit else ""
        level = f"{100 * (1 - self.alpha):g}%"
        p = f"{p_words(self.p_value)}, " if self.tested else ""
        evidence = f"{level} interval {lower:.4g} to {upper:.4g}, {p}n = {self.n:,}"
        return f"{label}{self.value:.4g}{unit} ({evidence})"


def p_words(p: float) -> str:
    """A p-value as a line of text prints it, never as 0: p = 0.046, p < 0.001."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"


def normal_quantile(alpha: float) -> float:
    """z with P(|Z| > z) = alpha.

    Raises:
        ParameterError: alpha outside (0, 0.5].
    """
    if isinstance(alpha, bool) or not isinstance(alpha, int | float | np.number) or not 0 < alpha <= 0.5:
        confidence = isinstance(alpha, float) and 0.5 < alpha < 1
        meant = f"; for a {alpha:.0%} interval pass alpha={1 - alpha:.3g}" if confidence else ""
        raise ParameterError(
            f"alpha is {alpha!r}",
            remedy=f"Pass the probability that the interval may miss, above 0 and at most 0.5, such as 0.05{meant}.",
        )
    return float(-ndtri(alpha / 2))


def cluster_codes(unit: NDArray[Any] | None) -> Codes | None:
    """(n,) cluster of each row as 0 … C − 1, or None where no unit repeats (each row is its own cluster)."""
    if unit is None:
        return None
    distinct, codes = np.unique(np.asarray(unit), return_inverse=True)
    return None if distinct.shape[0] == codes.shape[0] else codes.astype(np.intp, copy=False)


def influence_stderr(
    psi: NDArray[Any], *, clusters: NDArray[Any] | None = None, weight: NDArray[Any] | None = None
) -> float:
    """Standard error of a mean-like estimate from its influence function (n,); see ``influence_covariance``."""
    return math.sqrt(float(influence_covariance([psi], clusters=clusters, weight=weight)[0, 0]))


def influence_covariance(
    psis: Sequence[NDArray[Any]], *, clusters: NDArray[Any] | None = None, weight: NDArray[Any] | None = None
) -> Floats:
    """(k, k) covariance of k estimates from their influence functions.

    With ψ_c the sum of ψ over the rows of cluster c and C clusters, C/(C − 1) · Σ_c ψ_c ψ_cᵀ / n² (Liang and Zeger
    1986). Rows are their own clusters where none are given, and C/(C − 1) makes it the textbook s²/n for a mean. With
    row weights ψ is multiplied by weight / mean weight, the influence function of a weighted mean. Infinite for a
    single cluster.

    Args:
        psis: k arrays (n,), the influence of each row, mean about 0.
        clusters: (n,) ids that repeat where rows belong together.
        weight: (n,) row weights.
    """
    parts = [np.asarray(psi, dtype=np.float64) for psi in psis]
    n = parts[0].shape[0]
    if weight is not None:
        relative = np.asarray(weight, dtype=np.float64) / np.mean(weight, dtype=np.float64)
        parts = [psi * relative for psi in parts]
    groups = n
    if clusters is not None:
        codes = _dense(np.asarray(clusters))
        groups = int(np.count_nonzero(np.bincount(codes)))
        parts = [np.asarray(np.bincount(codes, weights=psi), dtype=np.float64) for psi in parts]
    if groups < 2:
        return np.full((len(parts), len(parts)), math.inf)
    products = np.array([[float(a @ b) for b in parts] for a in parts])
    return np.asarray(products * (groups / (groups - 1) / n**2))


def _dense(ids: NDArray[Any]) -> NDArray[Any]:
    """Ids as whole numbers from 0 that do not much exceed their count; as they are where they are so already."""
    if ids.dtype.kind in "iu" and ids.shape[0] and ids.min() >= 0 and ids.max() < 2 * ids.shape[0]:
        return ids
    return np.unique(ids, return_inverse=True)[1]
