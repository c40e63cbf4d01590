"""How well a ranking finds those on whom the treatment works: Qini, AUUC, uplift at k, and their differences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from persuadable.errors import ParameterError
from persuadable.value import functionals
from persuadable.value.curves import Curve, CurveKind, draw_curve
from persuadable.value.estimate import Estimate, Floats, influence_covariance
from persuadable.value.holdout import require_held_out
from persuadable.value.ranked import (
    PER_HEAD,
    PER_TARGETED,
    Interval,
    Ranked,
    Scores,
    Seed,
    percentiles,
    rank_arms,
    ranked,
    require_shares,
    resample,
)
from persuadable.value.ranks import Ranks, checked_scores
from persuadable.value.scores import Method, compare_arms, comparison_scores

if TYPE_CHECKING:
    import polars as pl

    from persuadable.log import DecisionLog

__all__ = [
    "Qini",
    "RankingReport",
    "compare_rankings",
    "evaluate_ranking",
    "qini",
    "qini_curve",
    "uplift_at_k",
    "uplift_curve",
]

Metric = Literal["qini", "auuc", "autoc", "uplift_at_k"]


@dataclass(frozen=True, slots=True, eq=False)
class Qini:
    """The Qini of a ranking.

    Attributes:
        coefficient: θ, the area between the uplift curve and the random line, in outcome units per head of the
            population; its p-value is against the random ranking, θ = 0.
        auuc: the area under the uplift curve, θ + half the average effect, in outcome units per head.
        ate: the average effect, in outcome units per head.
        relative: θ divided by the area under the random line (half the average effect), a pure number: 0.2 says that
            averaged over all budgets the ranking gains 20% more than targeting at random. None where the average effect
            is 0; unstable, and its interval wide, where that is near 0.
        curve: the uplift curve, with band and random line.
        gain: the Qini curve, the uplift curve less the random line; the area under it is θ.
    """

    coefficient: Estimate
    auuc: Estimate
    ate: Estimate
    relative: Estimate | None
    curve: Curve
    gain: Curve

    @property
    def p_value(self) -> float:
        """Two-sided p-value of θ against the random ranking."""
        return self.coefficient.p_value

    def frame(self) -> pl.DataFrame:
        """The uplift curve: columns share, value, stderr, lower, upper, random."""
        return self.curve.frame()

    def __str__(self) -> str:
        return str(self.coefficient)


def qini(
    log: DecisionLog,
    scores: Scores,
    *,
    outcome: str | None = None,
    action: str | int | None = None,
    method: Method = "ipw",
    mu: NDArray[Any] | None = None,
    alpha: float = 0.05,
    interval: Interval = "influence",
    n_resamples: int = 200,
    random_state: Seed = 0,
) -> Qini:
    """The Qini coefficient and curve of a ranking, on held-out rows.

    θ = ∫₀¹ (C(φ) − φ·C(1)) dφ = E[Γ(½ − U)],  C(φ) = E[Γ·1{U ≤ φ}],
    U the share ranked above a row, tied rows sharing the mean of their ranks, Γ the scores of ``uplift_scores``.
    It is the area between the uplift curve and the random line (Radcliffe 2007), per head and with propensities, and
    equals the QINI-weighted RATE of Yadlowsky, Fleming, Shah, Brunskill and Wager (2025). Other packages scale and
    weight theirs differently.

    The interval is from the influence function ψ = Γ(½ − U) − θ − (G(S) − E[G(S)]), G(s) = E[Γ·1{S < s}], whose last
    part is what ranking within the sample adds; or from the bootstrap (percentiles; rows, or units where they
    repeat). Where the log stores no propensities ψ treats the arm shares as known, which errs on the side of wide
    intervals.

    Args:
        log: held-out rows.
        scores: (n,) numbers to rank by, the highest first, such as ``learner.effect(log.features)[:, 1]``.
        outcome: the outcome's name; the first when None.
        action: the treatment; needed where the log has more than one, whose other arms are then dropped.
        method: ``"ipw"`` or ``"dr"``, see ``uplift_scores``.
        mu: (n, A) out-of-fold outcome predictions for ``"dr"``.
        alpha: intervals miss with this probability.
        interval: ``"influence"`` or ``"bootstrap"``, for the coefficient and the AUUC.
        n_resamples: bootstrap draws.
        random_state: of the bootstrap.

    Raises:
        LeakageError: scores from a learner that was fitted on rows of the log.
        DataError: scores that are not one finite number per row.
        ParameterError: an unknown method or interval, alpha outside (0, 1).

    Warns:
        PrefixDriftWarning: the treated share inside a prefix of the ranking is not what the propensities imply.
    """
    data = ranked(log, scores, outcome=outcome, action=action, method=method, mu=mu)
    result = _qini(data, functionals.Sums.of(data.gamma, data.ranks), alpha)
    if interval == "influence":
        return result
    draws = resample(_qini_and_auuc, data, interval=interval, n_resamples=n_resamples, random_state=random_state)
    return replace(
        result,
        coefficient=percentiles(result.coefficient, draws[:, 0]),
        auuc=percentiles(result.auuc, draws[:, 1]),
    )


def _qini_and_auuc(gamma: Floats, ranks: Ranks) -> tuple[float, float]:
    theta = functionals.qini_value(gamma, ranks)
    return theta, theta + functionals.mean_value(gamma, ranks) / 2


def _qini(data: Ranked, sums: functionals.Sums, alpha: float) -> Qini:
    """Everything about θ from one pass: the other numbers are functions of θ and the average effect."""
    theta, psi = functionals.qini_influence(data.gamma, data.ranks, sums.above)
    mean, psi_mean = functionals.mean_influence(data.gamma, data.ranks)
    covariance = influence_covariance([psi, psi_mean], clusters=data.clusters, weight=data.weight)

    def estimate(value: float, slope: tuple[float, float], name: str, unit: str = PER_HEAD) -> Estimate:
        stderr = float(np.sqrt(max(np.array(slope) @ covariance @ np.array(slope), 0.0)))
        unit = unit.format(data.arms.name)
        return Estimate.normal(value, stderr, alpha=alpha, n=data.ranks.m, ess=data.ess, name=name, unit=unit)

    def curve(kind: CurveKind) -> Curve:
        return _curve(kind, data, alpha, sums)

    ratio = 2 * theta / mean if mean else None
    return Qini(
        coefficient=estimate(theta, (1.0, 0.0), "Qini"),
        auuc=estimate(theta + mean / 2, (1.0, 0.5), "AUUC"),
        ate=estimate(mean, (0.0, 1.0), "average effect"),
        relative=None
        if ratio is None
        else estimate(ratio, (2 / mean, -ratio / mean), "Qini over the random line's area", ""),
        curve=curve("uplift"),
        gain=curve("qini"),
    )


def uplift_curve(
    log: DecisionLog,
    scores: Scores,
    *,
    outcome: str | None = None,
    action: str | int | None = None,
    method: Method = "ipw",
    mu: NDArray[Any] | None = None,
    alpha: float = 0.05,
) -> Curve:
    """C(φ) = E[Γ·1{U ≤ φ}]: what treating the share φ ranked highest gains, per head of the population.

    Arguments and errors as in ``qini``.
    """
    return _curve("uplift", ranked(log, scores, outcome=outcome, action=action, method=method, mu=mu), alpha)


def qini_curve(
    log: DecisionLog,
    scores: Scores,
    *,
    outcome: str | None = None,
    action: str | int | None = None,
    method: Method = "ipw",
    mu: NDArray[Any] | None = None,
    alpha: float = 0.05,
) -> Curve:
    """C(φ) − φ·C(1): the uplift curve less the random line; the area under it is the Qini coefficient.

    Arguments and errors as in ``qini``.
    """
    return _curve("qini", ranked(log, scores, outcome=outcome, action=action, method=method, mu=mu), alpha)


def _curve(kind: CurveKind, data: Ranked, alpha: float, sums: functionals.Sums | None = None) -> Curve:
    return draw_curve(kind, data.gamma, data.ranks, alpha=alpha, sums=sums, clusters=data.clusters, name=data.arms.name)


def uplift_at_k(
    log: DecisionLog,
    scores: Scores,
    k: float = 0.3,
    *,
    outcome: str | None = None,
    action: str | int | None = None,
    method: Method = "ipw",
    mu: NDArray[Any] | None = None,
    alpha: float = 0.05,
) -> Estimate:
    """E[Γ | U ≤ k]: the average effect among the share k ranked highest, in outcome units per head targeted.

    A tie group that straddles k counts by the fraction of it that fits. The interval's ψ = (M·Γ − (M − k)·g)/k −
    value holds the contribution g of the threshold, itself a sample quantile. Where few rows of the top share have an
    outcome, and a skewed one such as spend, a normal interval covers less than it says: 92% instead of 95% with about
    25 spenders in an arm (calibration/RANKING.json). Arguments and errors as in ``qini``.

    Raises:
        ParameterError: k outside (0, 1].
    """
    require_shares([k])
    data = ranked(log, scores, outcome=outcome, action=action, method=method, mu=mu)
    value, psi = functionals.top_influence(data.gamma, data.ranks, k)
    return data.estimate(value, psi, alpha, f"uplift at {k:g}", PER_TARGETED)


@dataclass(frozen=True, slots=True, eq=False)
class RankingReport:
    """All measures of one ranking.

    Attributes:
        qini: coefficient, AUUC, average effect and curves.
        autoc: area under the TOC curve.
        at_k: share → effect among those ranked highest.
    """

    qini: Qini
    autoc: Estimate
    at_k: dict[float, Estimate]

    @property
    def estimates(self) -> tuple[Estimate, ...]:
        """Every number, in the order of the table."""
        return (self.qini.coefficient, self.qini.auuc, self.autoc, self.qini.ate, *self.at_k.values())

    def frame(self) -> pl.DataFrame:
        """Columns measure, value, stderr, lower, upper, p_value, unit."""
        import polars as pl

        return pl.DataFrame(
            {
                "measure": [e.name for e in self.estimates],
                "value": [e.value for e in self.estimates],
                "stderr": [e.stderr for e in self.estimates],
                "lower": [e.interval[0] for e in self.estimates],
                "upper": [e.interval[1] for e in self.estimates],
                "p_value": [e.p_value for e in self.estimates],
                "unit": [e.unit for e in self.estimates],
            }
        )

    def __str__(self) -> str:
        return "\n".join(str(e) for e in self.estimates)


def evaluate_ranking(
    log: DecisionLog,
    scores: Scores,
    ks: Sequence[float] = (0.1, 0.2, 0.3),
    *,
    outcome: str | None = None,
    action: str | int | None = None,
    method: Method = "ipw",
    mu: NDArray[Any] | None = None,
    alpha: float = 0.05,
) -> RankingReport:
    """Qini, AUUC, AUTOC and uplift at each k, with intervals and curves, from one sort of the scores.

    Arguments and errors as in ``qini`` and ``uplift_at_k``.
    """
    require_shares(ks)
    data = ranked(log, scores, outcome=outcome, action=action, method=method, mu=mu)
    sums = functionals.Sums.of(data.gamma, data.ranks)
    autoc, psi = functionals.autoc_influence(data.gamma, data.ranks, sums.above)
    return RankingReport(
        qini=_qini(data, sums, alpha),
        autoc=data.estimate(autoc, psi, alpha, "AUTOC", PER_HEAD),
        at_k=_at_shares(data, sums, ks, alpha),
    )


def _at_shares(data: Ranked, sums: functionals.Sums, ks: Sequence[float], alpha: float) -> dict[float, Estimate]:
    """Uplift at several k; the numbers of ``uplift_at_k`` from shared running sums."""
    shares = np.array(list(ks), dtype=np.float64)
    value = functionals.curve_value(data.ranks, sums.above, shares, gain=False) / shares
    stderr = functionals.curve_stderr(data.gamma, data.ranks, sums, shares, gain=False, clusters=data.clusters) / shares
    unit = PER_TARGETED.format(data.arms.name)
    return {
        float(k): Estimate.normal(v, s, alpha=alpha, n=data.ranks.m, ess=data.ess, name=f"uplift at {k:g}", unit=unit)
        for k, v, s in zip(shares.tolist(), value.tolist(), stderr.tolist(), strict=True)
    }


def compare_rankings(
    log: DecisionLog,
    scores_a: Scores,
    scores_b: Scores,
    *,
    metric: Metric = "qini",
    k: float = 0.3,
    outcome: str | None = None,
    action: str | int | None = None,
    method: Method = "ipw",
    mu: NDArray[Any] | None = None,
    alpha: float = 0.05,
) -> Estimate:
    """How much better ranking a is than b on the same rows.

    A paired difference, its interval from ψᵃ − ψᵇ row by row. The rows' luck is common to both rankings and cancels,
    so the interval is usually far narrower than those of a and b.

    Args:
        log: held-out rows.
        scores_a: (n,) one ranking.
        scores_b: (n,) the other.
        metric: "qini", "auuc", "autoc" or "uplift_at_k".
        k: the share for "uplift_at_k".
        outcome, action, method, mu, alpha: as in ``qini``.

    Raises:
        ParameterError: an unknown metric, or k outside (0, 1].
        LeakageError, DataError: as in ``qini``, for either ranking.
    """
    measure = _measure(metric, k)
    require_held_out(log, scores_a, scores_b)
    pair = [checked_scores(s, log.n) for s in (scores_a, scores_b)]
    arms = compare_arms(log, outcome=outcome, action=action)
    gamma = comparison_scores(log, arms, method=method, mu=mu)
    values, psis = [], []
    for scores in pair:
        data = rank_arms(arms, gamma, arms.select(scores), stacklevel=3)
        value, psi = measure(data.gamma, data.ranks)
        values.append(value)
        psis.append(data.ranks.unsort(psi))
    name = f"difference in uplift at {k:g}" if metric == "uplift_at_k" else f"difference in {_NAMES[metric]}"
    unit = (PER_TARGETED if metric == "uplift_at_k" else PER_HEAD).format(arms.name)
    return Estimate.from_influence(
        values[0] - values[1], psis[0] - psis[1], alpha, arms.clusters, arms.weight, ess=data.ess, name=name, unit=unit
    )


_NAMES = {"qini": "Qini", "auuc": "AUUC", "autoc": "AUTOC"}


def _measure(metric: str, k: float) -> Callable[[Floats, Ranks], tuple[float, Floats]]:
    if metric == "uplift_at_k":
        require_shares([k])
        return lambda gamma, ranks: functionals.top_influence(gamma, ranks, k)
    known = {
        "qini": functionals.qini_influence,
        "auuc": functionals.auuc_influence,
        "autoc": functionals.autoc_influence,
    }
    if metric not in known:
        raise ParameterError(f"metric is {metric!r}", remedy=f"Pass one of {[*known, 'uplift_at_k']}.")
    return known[metric]
