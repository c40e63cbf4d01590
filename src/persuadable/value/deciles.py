"""Uplift by decile of the score: the table everybody asks for first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from persuadable.errors import ParameterError
from persuadable.value import functionals
from persuadable.value.estimate import Estimate, Floats
from persuadable.value.ranked import PER_HEAD, Ranked, Scores, ranked
from persuadable.value.ranks import checked_scores
from persuadable.value.scores import Method

if TYPE_CHECKING:
    import polars as pl

    from persuadable.log import DecisionLog

__all__ = ["Decile", "Deciles", "deciles"]


@dataclass(frozen=True, slots=True)
class Decile:
    """One bin of the ranking.

    Attributes:
        bin: 1 for the highest scores.
        n: rows in it; not whole where a tie group is shared between bins.
        score_low: lowest score in it.
        score_high: highest score in it.
        mean_score: mean score.
        uplift: mean of Γ, with interval.
        treated_share: share of its rows that were treated.
        outcome_treated: inverse-propensity weighted mean outcome of its treated rows; NaN where it has none.
        outcome_control: likewise of its control rows.
    """

    bin: int
    n: float
    score_low: float
    score_high: float
    mean_score: float
    uplift: Estimate
    treated_share: float
    outcome_treated: float
    outcome_control: float


@dataclass(frozen=True, slots=True)
class Deciles:
    """Uplift by bin of the score, the highest scores first.

    Attributes:
        bins: one entry per bin.
        overall: the average effect.
        name: the outcome.
    """

    bins: tuple[Decile, ...]
    overall: Estimate
    name: str

    def __len__(self) -> int:
        return len(self.bins)

    def frame(self) -> pl.DataFrame:
        """One row per bin: bin, n, score_low, score_high, mean_score, uplift, stderr, lower, upper, treated_share,
        outcome_treated, outcome_control."""
        import polars as pl

        return pl.DataFrame(
            [
                {
                    "bin": d.bin,
                    "n": d.n,
                    "score_low": d.score_low,
                    "score_high": d.score_high,
                    "mean_score": d.mean_score,
                    "uplift": d.uplift.value,
                    "stderr": d.uplift.stderr,
                    "lower": d.uplift.interval[0],
                    "upper": d.uplift.interval[1],
                    "treated_share": d.treated_share,
                    "outcome_treated": d.outcome_treated,
                    "outcome_control": d.outcome_control,
                }
                for d in self.bins
            ]
        )

    def __str__(self) -> str:
        level = f"{100 * (1 - self.overall.alpha):g}% interval"
        lines = [f"{'bin':>4} {'rows':>9} {'score':>10} {'uplift':>10}  {level:^23} {'treated':>8}"]
        for d in self.bins:
            lower, upper = d.uplift.interval
            lines.append(
                f"{d.bin:>4} {d.n:>9,.0f} {d.mean_score:>10.4g} {d.uplift.value:>10.4g}  "
                f"{f'{lower:.4g} to {upper:.4g}':^23} {d.treated_share:>8.1%}"
            )
        return "\n".join([*lines, f"all rows {self.overall}"])


def deciles(
    log: DecisionLog,
    scores: Scores,
    bins: int = 10,
    *,
    outcome: str | None = None,
    action: str | int | None = None,
    method: Method = "ipw",
    mu: NDArray[Any] | None = None,
    alpha: float = 0.05,
) -> Deciles:
    """Uplift in equal shares of the ranking, the highest scores first.

    Every bin holds the share 1/bins of the (weighted) rows. Tied rows are never parted arbitrarily: a tie group that
    straddles a boundary belongs to both bins by the fractions that fit, which is what random tie-breaking gives on
    average; so with few distinct scores neighbouring bins are alike, and the bins' mean is always the average effect.
    Uplift is the mean of Γ, hence consistent with ``uplift_at_k`` (the mean of the first three deciles is uplift at
    0.3); the arms' mean outcomes are Hájek means within the bin, whose difference agrees with it up to noise. The
    interval counts that the boundaries are sample quantiles.

    Args:
        log: held-out rows.
        scores: (n,) numbers to rank by.
        bins: how many.
        outcome, action, method, mu, alpha: as in ``qini``.

    Raises:
        ParameterError: fewer than 1 bin or more bins than rows.
        LeakageError, DataError, ActionError, PropensityError: as in ``qini``.
    """
    data = ranked(log, scores, outcome=outcome, action=action, method=method, mu=mu)
    if not 1 <= bins <= data.ranks.m:
        raise ParameterError(f"bins is {bins!r} for {data.ranks.m:,} rows", remedy="Pass 1 or more, at most the rows.")
    by_score = data.ranks.sort(data.arms.select(checked_scores(scores, log.n)).astype(np.float64))
    mean, psi = functionals.mean_influence(data.gamma, data.ranks)
    return Deciles(
        bins=_bins(data, by_score, bins, alpha),
        overall=data.estimate(mean, psi, alpha, "average effect", PER_HEAD),
        name=data.arms.name,
    )


def _bins(data: Ranked, scores: Floats, bins: int, alpha: float) -> tuple[Decile, ...]:
    ranks, arms = data.ranks, data.arms
    edges = np.linspace(0.0, 1.0, bins + 1)
    treated = ranks.sort(arms.treated)
    inverse = ranks.sort(np.where(arms.treated, 1 / np.asarray(arms.treat), 1 / (1 - np.asarray(arms.treat))))
    y = ranks.sort(arms.outcome)
    weight_treated, weight_control = inverse * treated, inverse * ~treated
    arm_sums = (weight_treated, weight_treated * y, weight_control, weight_control * y)
    score, share, w1, y1, w0, y0 = (
        np.diff(np.interp(edges, ranks.share, ranks.cumulate(q))) * bins
        for q in (scores, treated.astype(np.float64), *arm_sums)
    )
    rows = np.diff(np.interp(edges, ranks.share, ranks.start))
    with np.errstate(invalid="ignore", divide="ignore"):
        mean1, mean0 = y1 / w1, y0 / w0
    uplifts = _uplifts(data, edges, alpha)
    inner = 1e-12
    first = np.searchsorted(ranks.share, edges[:-1] + inner, side="right") - 1
    last = np.searchsorted(ranks.share, edges[1:] - inner, side="left") - 1
    return tuple(
        Decile(
            bin=b + 1,
            n=float(rows[b]),
            score_low=float(scores[ranks.start[last[b]]]),
            score_high=float(scores[ranks.start[first[b]]]),
            mean_score=float(score[b]),
            uplift=uplifts[b],
            treated_share=float(share[b]),
            outcome_treated=float(mean1[b]),
            outcome_control=float(mean0[b]),
        )
        for b in range(bins)
    )


def _uplifts(data: Ranked, edges: Floats, alpha: float) -> list[Estimate]:
    """E[Γ | low < U ≤ high] between neighbouring edges.

    With T(k) the effect among the share k ranked highest it is (high·T(high) − low·T(low))/(high − low), and so its ψ.
    """
    above = data.ranks.cumulate(data.gamma)
    estimates: list[Estimate] = []
    value_below, psi_below, low = 0.0, np.zeros(1), 0.0
    for number, high in enumerate(edges[1:].tolist(), start=1):
        value, psi = functionals.top_influence(data.gamma, data.ranks, high, above)
        value, psi = value * high, psi * high
        width = high - low
        name = f"uplift in bin {number}"
        difference = (psi - psi_below) / width
        estimates.append(
            data.estimate((value - value_below) / width, difference, alpha, name, PER_HEAD + " of the bin")
        )
        value_below, psi_below, low = value, psi, high
    return estimates
