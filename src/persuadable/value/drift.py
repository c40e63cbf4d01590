"""Does the treated share inside a prefix of the ranking stay what the propensities say it should be?"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from persuadable.value.estimate import Codes, Floats, normal_quantile
from persuadable.value.ranks import Ranks

__all__ = ["FALSE_ALARM", "PREFIXES", "Drift", "PrefixDriftWarning", "prefix_drift", "warn_of_drift"]

FALSE_ALARM = 0.001
PREFIXES = (0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
ENOUGH = 10.0  # variance of the treated count (about 40 rows at e = ½) from which a normal limit is fair


class PrefixDriftWarning(UserWarning):
    """The share treated inside a prefix of a ranking differs from what the propensities imply by more than chance."""


@dataclass(frozen=True, slots=True)
class Drift:
    """The prefix whose treated share is furthest from expectation.

    Attributes:
        share: the prefix, as a share of the ranking.
        expected: share treated that the propensities imply in it.
        realised: share treated in it.
        z: standardised difference there, the largest in absolute value over ``PREFIXES``.
        limit: what |z| exceeds with probability at most ``FALSE_ALARM`` when the propensities are right.
    """

    share: float
    expected: float
    realised: float
    z: float
    limit: float

    @property
    def alarming(self) -> bool:
        """Whether the difference is beyond chance."""
        return abs(self.z) > self.limit


def prefix_drift(
    treated: NDArray[np.bool_],
    treat: float | Floats,
    ranks: Ranks,
    *,
    shares_estimated: bool = False,
    clusters: Codes | None = None,
) -> Drift:
    """The largest standardised difference between realised and expected treated share over nested prefixes.

    For the prefix above share φ, z(φ) = Σ p(A − e) / √(Σ p² e(1 − e)), p a row's weight. Where e is itself the
    realised share the sum over all rows is 0 and the variance is that of a bridge, V(φ)(1 − V(φ)/V(1)). With clusters
    it is Σ_c(Σ p(A − e))². Twelve prefixes are looked at; by Bonferroni max|z| exceeds the limit with probability ≤
    0.001 under the null.

    Args:
        treated: (m,) by row.
        treat: P(treated), a number or (m,) by row.
        ranks: the ranking.
        shares_estimated: whether ``treat`` is the realised share.
        clusters: (m,) cluster codes by row.
    """
    limit = normal_quantile(FALSE_ALARM / len(PREFIXES))
    # whole tie groups: a prefix ends where the group that reaches it ends
    ends = ranks.start[np.searchsorted(ranks.share, np.array(PREFIXES) - 1e-12)]
    ends = np.unique(ends[ends > 0])
    edges = np.concatenate([[0], ends[:-1]])
    a = ranks.sort(treated)
    e = treat if np.ndim(treat) == 0 else ranks.sort(np.asarray(treat))
    residual, spread = a - e, np.broadcast_to(np.asarray(e * (1 - np.asarray(e))), a.shape)
    weight = np.broadcast_to(1.0, a.shape) if ranks.p is None else ranks.p * ranks.m
    sums = np.stack([np.add.reduceat(x, edges) for x in (weight * residual, weight * a, weight)]).cumsum(axis=1)
    difference, count_treated, count = sums[:, : ends.shape[0]]
    variance = np.add.reduceat(weight * weight * spread, edges).cumsum()
    enough = variance >= ENOUGH
    if shares_estimated:
        enough &= variance[-1] - variance >= ENOUGH
        variance = variance * (1 - variance / variance[-1])
    if clusters is not None:
        variance = _clustered_variance(weight * residual, ranks.sort(clusters), ends)
    usable = enough & (variance > 0)
    if not usable.any():
        return Drift(1.0, float("nan"), float("nan"), 0.0, limit)
    z = np.where(usable, difference / np.sqrt(np.where(usable, variance, 1.0)), 0.0)
    worst = int(np.argmax(np.abs(z)))
    realised = float(count_treated[worst] / count[worst])
    expected = realised - float(difference[worst] / count[worst])
    return Drift(float(ends[worst] / ranks.m), expected, realised, float(z[worst]), limit)


def _clustered_variance(residual: Floats, clusters: Codes, ends: Codes) -> Floats:
    sums = (np.bincount(clusters[:end], weights=residual[:end]) for end in ends.tolist())
    return np.array([float(by_cluster @ by_cluster) for by_cluster in sums])


def warn_of_drift(drift: Drift, *, stacklevel: int = 2) -> None:
    """Warn where a drift is beyond chance; ``stacklevel`` as in ``warnings.warn``."""
    if drift.alarming:
        whom = "all rows" if drift.share >= 1 else f"the {drift.share:.0%} ranked highest"
        warnings.warn(
            f"Among {whom} {drift.realised:.1%} were treated where the propensities "
            f"imply {drift.expected:.1%} (z = {drift.z:.1f}, limit {drift.limit:.1f}, "
            f"false alarms at most 1 in {1 / FALSE_ALARM:,.0f}). "
            "Uplift there is not to be trusted: pass the propensities the actions were taken with, "
            "or estimate them and use method='dr'.",
            PrefixDriftWarning,
            stacklevel=stacklevel + 1,
        )
