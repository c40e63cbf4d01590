"""What every ranking measure starts from: a comparison of two arms, its scores Γ, and one sort."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from persuadable.errors import ParameterError
from persuadable.value.drift import prefix_drift, warn_of_drift
from persuadable.value.estimate import Codes, Estimate, Floats
from persuadable.value.functionals import bootstrap
from persuadable.value.holdout import require_held_out
from persuadable.value.ranks import Ranks, checked_scores, rank
from persuadable.value.scores import Comparison, Method, compare_arms, comparison_scores

if TYPE_CHECKING:
    from persuadable.log import DecisionLog

__all__ = ["Interval", "Ranked", "Scores", "Seed", "percentiles", "rank_arms", "ranked", "require_shares", "resample"]

Interval = Literal["influence", "bootstrap"]
Scores = NDArray[Any]
Seed = int | np.random.Generator | None

PER_HEAD = "{} per head"
PER_TARGETED = "{} per head targeted"


@dataclass(frozen=True, slots=True, eq=False)
class Ranked:
    """A log's comparison, its scores Γ, and a ranking of its rows: what every measure starts from.

    Attributes:
        arms: the treatment's and the control's rows.
        gamma: (m,) scores Γ in rank order.
        ranks: the ranking.
        clusters: (m,) cluster codes in rank order, or None.
    """

    arms: Comparison
    gamma: Floats
    ranks: Ranks
    clusters: Codes | None

    @property
    def weight(self) -> Floats | None:
        """(m,) row weights in rank order, with mean 1."""
        return None if self.ranks.p is None else self.ranks.p * self.ranks.m

    @property
    def ess(self) -> float | None:
        """(Σw)²/Σw², where rows are weighted."""
        return None if self.ranks.p is None else float(1 / (self.ranks.p @ self.ranks.p))

    def estimate(self, value: float, psi: Floats, alpha: float, name: str, unit: str) -> Estimate:
        """An estimate from its influence function in rank order."""
        return Estimate.from_influence(
            value, psi, alpha, self.clusters, self.weight, ess=self.ess, name=name, unit=unit.format(self.arms.name)
        )


def ranked(
    log: DecisionLog,
    scores: Scores,
    *,
    outcome: str | None,
    action: str | int | None,
    method: Method,
    mu: NDArray[Any] | None,
) -> Ranked:
    """Check, score and sort; warn where the treated share drifts inside the ranking.

    Raises:
        LeakageError: the scores come from a learner fitted on rows of the log.
        DataError: scores that are not one finite number per row of the log.
        ActionError, OutcomeError, PropensityError, ParameterError: see ``uplift_scores``.
    """
    require_held_out(log, scores)
    checked = checked_scores(scores, log.n)
    arms = compare_arms(log, outcome=outcome, action=action)
    gamma = comparison_scores(log, arms, method=method, mu=mu)
    return rank_arms(arms, gamma, arms.select(checked), stacklevel=4)


def rank_arms(arms: Comparison, gamma: Floats, scores: Scores, *, stacklevel: int = 2) -> Ranked:
    """Sort a comparison's scores Γ (m,) by a ranking (m,), and warn of drift."""
    ranks = rank(scores, arms.weight)
    drift = prefix_drift(
        arms.treated, arms.treat, ranks, shares_estimated=arms.shares_estimated, clusters=arms.clusters
    )
    warn_of_drift(drift, stacklevel=stacklevel)
    return Ranked(arms, ranks.sort(gamma), ranks, None if arms.clusters is None else ranks.sort(arms.clusters))


def require_shares(ks: Sequence[float]) -> None:
    """Refuse shares outside (0, 1]."""
    for k in ks:
        if not isinstance(k, int | float | np.number) or not 0 < k <= 1:
            raise ParameterError(f"k is {k!r}", remedy="Pass a share of the population in (0, 1], such as 0.3.")


def resample(
    measure: Callable[[Floats, Ranks], tuple[float, ...]],
    data: Ranked,
    *,
    interval: str,
    n_resamples: int,
    random_state: Seed,
) -> Floats:
    """(n_resamples, j) bootstrap draws of j measures of (Γ, ranks).

    Raises:
        ParameterError: an unknown interval, or fewer than two draws.
    """
    if interval != "bootstrap":
        raise ParameterError(f"interval is {interval!r}", remedy='Pass "influence" or "bootstrap".')
    if n_resamples < 2:
        raise ParameterError(f"n_resamples is {n_resamples}", remedy="Pass at least 2, better 200.")
    return bootstrap(
        lambda weight: measure(data.gamma, data.ranks.reweighted(weight)),
        data.ranks.m,
        n_resamples=n_resamples,
        rng=np.random.default_rng(random_state),
        weight=data.ranks.p,
        clusters=data.clusters,
    )


def percentiles(estimate: Estimate, draws: Floats) -> Estimate:
    """The estimate with the standard error and percentile interval of bootstrap draws (Efron 1979)."""
    lower, upper = np.quantile(draws, [estimate.alpha / 2, 1 - estimate.alpha / 2])
    return replace(estimate, stderr=float(draws.std(ddof=1)), interval=(float(lower), float(upper)))
