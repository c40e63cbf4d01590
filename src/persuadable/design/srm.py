"""Are there as many units in each arm as the lot should have given it? Sample-ratio mismatch."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import chdtrc, gammaln

from persuadable.errors import DataError, ParameterError

__all__ = ["SampleRatio", "sample_ratio", "sequential_sample_ratio", "varying_sample_ratio"]

Floats = NDArray[np.float64]
# So many ways to fill the arms are gone through one by one; beyond, Pearson's χ² is near enough.
TABLES = 20_000


@dataclass(frozen=True, slots=True)
class SampleRatio:
    """The units in each arm against those expected.

    Attributes:
        counts: (k,) units seen in each arm.
        expected: (k,) units the lot should have given it.
        statistic: χ² of the difference.
        degrees: its degrees of freedom.
        p_value: probability of counts as unlikely as these, or more, where the lot works.
        method: "exact", "chi-square", or "always-valid": then the p-value may be looked at as often as one likes.
    """

    counts: tuple[float, ...]
    expected: tuple[float, ...]
    statistic: float
    degrees: int
    p_value: float
    method: Literal["exact", "chi-square", "always-valid"]

    def mismatch(self, alpha: float = 0.001) -> bool:
        """Whether the arms' sizes are too far from the lot; at 0.001 a sound experiment in a thousand is stopped."""
        return self.p_value < alpha

    def __str__(self) -> str:
        pairs = ", ".join(f"{c:,.0f} ({e:,.0f})" for c, e in zip(self.counts, self.expected, strict=True))
        return f"units in each arm (expected): {pairs}; {self.method} p = {self.p_value:.2g}"


def sample_ratio(counts: ArrayLike, shares: ArrayLike) -> SampleRatio:
    """Test that units fell to the arms with these shares.

    Exact where at most 20,000 tables are possible (two arms: fewer than 20,000 units): the probability of all tables
    no likelier than the one seen. Else Pearson's χ².

    Args:
        counts: (k,) units in each arm.
        shares: (k,) shares they were to get, in any unit.

    Raises:
        DataError: counts that are no whole numbers of at least two arms.
        ParameterError: shares of another length or not above 0.
    """
    n, e = _counts(counts), _shares(shares)
    _same(n, e)
    total = int(n.sum())
    statistic = float(((n - total * e) ** 2 / (total * e)).sum()) if total else 0.0
    exact = math.comb(total + n.size - 1, n.size - 1) <= TABLES
    p = _exact(n, e) if exact else float(chdtrc(n.size - 1, statistic))
    told = tuple(n.tolist()), tuple((total * e).tolist())
    return SampleRatio(*told, statistic, n.size - 1, p, "exact" if exact else "chi-square")


def varying_sample_ratio(arm: ArrayLike, propensity: ArrayLike, clusters: NDArray[Any] | None = None) -> SampleRatio:
    """Test that rows fell to the arms with their own probabilities (a ramp-up, strata).

    χ² = (O − E)ᵀ V⁻¹ (O − E) with E = Σ e_i. V is Σ (diag e_i − e_i e_iᵀ), which makes it Pearson's χ² where e is
    constant; for rows that hang together it is estimated from the sums of O − E by cluster.

    Args:
        arm: (n,) codes 0 … k − 1.
        propensity: (n, k) probability of each arm.
        clusters: (n,) codes of rows that were assigned together.

    Raises:
        DataError: rows that do not match.
    """
    codes, e = np.asarray(arm, dtype=np.intp), np.asarray(propensity, dtype=np.float64)
    if e.ndim != 2 or codes.shape != e.shape[:1]:
        raise DataError(
            f"arm has shape {codes.shape}, propensity {e.shape}", remedy="Pass (n,) codes and (n, k) probabilities."
        )
    residual = np.eye(e.shape[1])[codes] - e
    if clusters is None:
        covariance = np.diag(e.sum(axis=0)) - e.T @ e
    else:
        sums = np.zeros((int(np.max(clusters)) + 1, e.shape[1]))
        np.add.at(sums, clusters, residual)
        covariance = sums.T @ sums
    values, vectors = np.linalg.eigh(covariance)
    used = values > values.max(initial=0.0) * 1e-9
    projected = vectors[:, used].T @ residual.sum(axis=0)
    statistic, degrees = float((projected**2 / values[used]).sum()), int(used.sum())
    p = float(chdtrc(degrees, statistic)) if degrees else 1.0  # nothing was left to chance
    told = tuple(np.bincount(codes, minlength=e.shape[1]).tolist()), tuple(e.sum(axis=0).tolist())
    return SampleRatio(*told, statistic, degrees, p, "chi-square")


def sequential_sample_ratio(counts: ArrayLike, shares: ArrayLike, *, concentration: float = 1_000.0) -> SampleRatio:
    """The same test, to be looked at as often as one likes, at no approximation.

    The p-value is 1 over the largest Bayes factor so far of shares drawn from a Dirichlet(concentration · shares)
    against the planned shares, a martingale if the lot works (Lindon and Malek 2022; Ville's inequality):

        BF = Γ(c)/Γ(c + n) · Π_j Γ(c e_j + n_j)/Γ(c e_j) · e_j^(−n_j).

    Args:
        counts: (k,) units in each arm by now, or (looks, k) at each look so far.
        shares: (k,) shares they were to get.
        concentration: c. At 1,000 it looks for shares some 1.6 points off an even split; larger for smaller ones.

    Raises:
        DataError: counts that are no whole numbers of at least two arms, or that fall from look to look.
        ParameterError: shares of another length or not above 0, or a concentration not above 0.
    """
    if not 0 < concentration < math.inf:
        raise ParameterError(f"concentration is {concentration!r}", remedy="Pass a number above 0, such as 1000.")
    looks, e = np.atleast_2d(_counts(counts)), _shares(shares)
    _same(looks[-1], e)
    if (np.diff(looks, axis=0) < 0).any():
        raise DataError("Counts fall from one look to the next", remedy="Pass the counts up to each look, in order.")
    prior, n = concentration * e, looks.sum(axis=1)
    arms = gammaln(prior + looks) - gammaln(prior) - looks * np.log(e)
    evidence = float((arms.sum(axis=1) + gammaln(concentration) - gammaln(concentration + n)).max())
    now, total = looks[-1], float(n[-1])
    statistic = float(((now - total * e) ** 2 / (total * e)).sum()) if total else 0.0
    told = tuple(now.tolist()), tuple((total * e).tolist())
    return SampleRatio(*told, statistic, e.size - 1, min(1.0, math.exp(-max(evidence, 0.0))), "always-valid")


def _exact(counts: Floats, shares: Floats) -> float:
    """Probability of the tables no likelier than this one, within rounding."""
    tables = np.array(list(_tables(int(counts.sum()), counts.size)), dtype=np.float64)
    log_p = gammaln(counts.sum() + 1) - gammaln(tables + 1).sum(axis=1) + tables @ np.log(shares)
    seen = gammaln(counts.sum() + 1) - gammaln(counts + 1).sum() + counts @ np.log(shares)
    return min(1.0, float(np.exp(log_p[log_p <= seen + 1e-7]).sum()))


def _tables(total: int, arms: int) -> Iterator[tuple[int, ...]]:
    """Every way to put ``total`` units into ``arms`` arms."""
    if arms == 1:
        yield (total,)
        return
    for first in range(total + 1):
        for rest in _tables(total - first, arms - 1):
            yield (first, *rest)


def _counts(counts: ArrayLike) -> Floats:
    n = np.asarray(counts, dtype=np.float64)
    whole = np.isfinite(n).all() and (n >= 0).all() and (n % 1 == 0).all()
    if n.ndim not in (1, 2) or n.size == 0 or n.shape[-1] < 2 or not whole:
        raise DataError(f"counts are {np.asarray(counts).tolist()}", remedy="Pass whole numbers, one for each arm.")
    return n


def _shares(shares: ArrayLike) -> Floats:
    e = np.asarray(shares, dtype=np.float64)
    if e.ndim != 1 or not (np.isfinite(e).all() and (e > 0).all()):
        raise ParameterError(f"shares are {np.asarray(shares).tolist()}", remedy="Pass a number above 0 for each arm.")
    return np.asarray(e / e.sum())


def _same(counts: Floats, shares: Floats) -> None:
    if counts.shape != shares.shape:
        raise ParameterError(
            f"There are {counts.size} counts and {shares.size} shares", remedy="Pass one of each for every arm."
        )
