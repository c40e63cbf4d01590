"""How strong must confounding that nobody logged be before a verdict falls?

The marginal sensitivity model (Tan 2006): somebody or something may have known more than the log when an action was
chosen, so that its true odds differ from the logged ones, but by a factor between 1/Λ and Λ. Λ = 1 is what the log
says; Λ = 2 lets the odds of every action be twice or half of it, in whichever way hurts the verdict most.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from persuadable.design.power import is_number
from persuadable.errors import ParameterError
from persuadable.log.checks import require_log
from persuadable.value.estimate import Estimate, Floats
from persuadable.value.gating.evidence import Evidence, Shares, gather
from persuadable.value.off_policy import Judged, share_sampling
from persuadable.value.policy_value import Judgeable

if TYPE_CHECKING:
    import polars as pl

    from persuadable.log import DecisionLog

__all__ = ["Confounded", "Sensitivity", "sensitivity", "sensitivity_of"]

GRID = (1.0, 1.05, 1.1, 1.15, 1.2, 1.3, 1.4, 1.5, 1.75, 2.0, 2.5, 3.0, 4.0, 5.0)
MOST = 100.0  # a tipping point beyond it is told as infinite
CELLS = 20  # bins of predicted outcome within an action
LEAST_ROWS = 100  # of a bin


@dataclass(frozen=True, slots=True, eq=False)
class Sensitivity:
    """Bounds of a difference under confounding that nobody logged.

    Attributes:
        grid: (k,) values of Λ.
        lower, upper: (k,) bounds of the difference at each Λ.
        surely_above, surely_below: (k,) ends of the confidence interval of the bounds: the lower end of the lower
            bound's, the upper end of the upper bound's.
        margin: what the difference is compared with.
        alpha: the interval's.
        verdict: "above" where the interval at Λ = 1 lies above the margin, "below" where it lies below, else None.
        tipping: Λ*, the smallest Λ at which the interval takes in the margin and the verdict falls; 1 where there is
            none to fall, infinite beyond 100.
        tipping_estimate: the smallest Λ at which the bound itself, without its sampling error, takes in the margin.
    """

    grid: Floats
    lower: Floats
    upper: Floats
    surely_above: Floats
    surely_below: Floats
    margin: float
    alpha: float
    verdict: Literal["above", "below"] | None
    tipping: float
    tipping_estimate: float

    def frame(self) -> pl.DataFrame:
        """One row per Λ."""
        import polars as pl

        names = ("lower", "upper", "surely_above", "surely_below")
        return pl.DataFrame({"lambda": self.grid, **{name: getattr(self, name) for name in names}})

    def __str__(self) -> str:
        if self.verdict is None:
            return "The interval takes in the margin as it is: there is no verdict that confounding could flip."
        beyond = "more than 100" if math.isinf(self.tipping) else f"{self.tipping:.2f}"
        return (
            f"The difference is {self.verdict} the margin as long as unlogged confounding changes no action's odds by "
            f"a factor of {beyond} (Λ*)."
        )


@dataclass(frozen=True, slots=True, eq=False)
class Confounded:
    """The rows that say how bad confounding can be: those whose action one policy prefers to the other.

    With s the sign of π_A − π⁰_A, r = s(Y − q̂_A) the residual in the direction of the difference and
    v = |π_A − π⁰_A|/e_A, the least that E[Y(a) | x] can be, for an action the candidate prefers, is (Dorn and Guo 2022)

        e_a E[Y] + (1 − e_a) (E[Y]/Λ + (1 − 1/Λ)·(ρ − (1 + Λ) E[(ρ − Y)⁺])),  ρ the 1/(1 + Λ) quantile of Y | x, a,

    and mirrored for one it avoids. Any other ρ gives a lower number still, so ρ need not be estimated well to be safe
    (Dorn, Guo and Kallus 2021). Here it is the quantile of r within bins of q̂ for every action and sign, as rows
    count in the difference.

    Attributes:
        residual: (n,) r, along the direction.
        weight: (n,) v.
        e: (n,) propensity of the action taken.
        direct: (n,) Σ_a (π_a − π⁰_a) q̂_a along the direction.
        reach: (n, cells) Σ_a |π_a − π⁰_a|(1 − e_a) of the actions whose outcomes lie in a cell; None where the
            propensities of actions not taken are unknown.
        cell: (n,) cell of the action taken.
        order: (m,) rows with v > 0, by cell and rising residual.
        start: (cells + 1,) where a cell's rows begin in ``order``.
        mass: (m + 1,) running sum of v(1 − e) over ``order``, from 0.
        moment: (m + 1,) running sum of v(1 − e)r.
    """

    residual: Floats
    weight: Floats
    e: Floats
    direct: Floats
    reach: Any
    cell: NDArray[np.intp]
    order: NDArray[np.intp]
    start: NDArray[np.intp]
    mass: Floats
    moment: Floats

    @classmethod
    def of(cls, evidence: Evidence, direction: float) -> Confounded:
        """Of the difference (direction 1), or of its negative (−1)."""
        gap = evidence.gap
        mine = evidence.at_taken(gap)
        weight = np.abs(mine) / evidence.taken
        residual = direction * np.sign(mine) * (evidence.y - evidence.at_taken(evidence.mu))
        cells, count = _cells(evidence.mu, gap * direction, evidence.action)
        reach = None if evidence.table is None else _reach(np.abs(gap) * (1.0 - evidence.table), cells, count)
        cell = np.take_along_axis(cells, evidence.action[:, None], axis=1)[:, 0]
        mass = weight * (1.0 - evidence.taken)
        if evidence.weight is not None:
            mass = mass * evidence.weight
        order = np.flatnonzero(mass > 0)
        order = order[np.lexsort((residual[order], cell[order]))]
        return cls(
            residual=residual,
            weight=weight,
            e=evidence.taken,
            direct=direction * np.einsum("na,na->n", gap, evidence.mu),
            reach=reach,
            cell=cell,
            order=order,
            start=np.searchsorted(cell[order], np.arange(count + 1)),
            mass=np.concatenate([[0.0], np.cumsum(mass[order])]),
            moment=np.concatenate([[0.0], np.cumsum(mass[order] * residual[order])]),
        )

    def tail(self, lam: float) -> tuple[Floats, Floats]:
        """(cells,) ρ, and ρ − (1 + Λ) E[(ρ − r)⁺], the mean of the lowest 1/(1 + Λ) of the residuals."""
        rho, worst = np.zeros(self.start.size - 1), np.zeros(self.start.size - 1)
        seen = np.flatnonzero(self.start[1:] > self.start[:-1])
        first, last = self.start[seen], self.start[seen + 1]
        total = self.mass[last] - self.mass[first]
        at = np.searchsorted(self.mass[1:], self.mass[first] + total / (1.0 + lam), side="left").clip(first, last - 1)
        rho[seen] = self.residual[self.order[at]]
        short = rho[seen] * (self.mass[at] - self.mass[first]) - (self.moment[at] - self.moment[first])
        worst[seen] = rho[seen] - (1.0 + lam) * short / total
        return rho, worst

    def rows(self, lam: float) -> tuple[Floats, Floats]:
        """(n,) terms whose mean is the lower bound, and their weighted part.

        direct + v·(e r + (1 − e)(r/Λ + (1 − 1/Λ)(ρ − (1 + Λ)(ρ − r)⁺))); where all propensities are known, the mean of
        the last term in a cell is predicted for everybody and subtracted from the row, as DR does with q̂.
        """
        rho, worst = self.tail(lam)
        k = 1.0 - 1.0 / lam
        mine, r = rho[self.cell], self.residual
        tail = mine - (1.0 + lam) * np.maximum(mine - r, 0.0)
        direct = self.direct
        if self.reach is not None:
            tail -= worst[self.cell]
            direct = direct + k * (self.reach @ worst)
        weighted = self.weight * (self.e * r + (1.0 - self.e) * (r / lam + k * tail))
        return direct + weighted, weighted


def _reach(size: Floats, cells: NDArray[np.intp], count: int) -> Any:
    """(n, count) sparse: an (n, A) table summed by cell."""
    from scipy.sparse import csr_array

    n, width = size.shape
    return csr_array((size.ravel(), cells.ravel(), np.arange(0, n * width + 1, width)), shape=(n, count))


def _cells(mu: Floats, gap: Floats, action: NDArray[np.intp]) -> tuple[NDArray[np.intp], int]:
    """(n, A) cell of each action's predicted outcome: by action, by the sign of the gap, by quantiles of q̂."""
    cells = np.zeros(mu.shape, dtype=np.intp)
    count = 0
    for a in range(mu.shape[1]):
        for side in (gap[:, a] > 0, gap[:, a] < 0):
            seen = mu[side & (action == a), a]
            bins = max(1, min(CELLS, seen.size // LEAST_ROWS))
            edges = np.unique(np.quantile(seen, np.arange(1, bins) / bins)) if bins > 1 else np.empty(0)
            cells[side, a] = count + np.searchsorted(edges, mu[side, a], side="right")
            count += edges.size + 1
    return cells, count


@dataclass(frozen=True, slots=True, eq=False)
class _Bound:
    """The lower bound of a difference along one direction, as a function of Λ."""

    evidence: Evidence
    rows: Confounded
    gap: float
    alpha: float

    def __call__(self, lam: float) -> Estimate:
        told = self.evidence
        each, weighted = self.rows.rows(lam)
        value = told.mean(each)
        psi = each - value
        if told.table is not None and told.shares_estimated:
            psi = psi - share_sampling(Shares(told.table, told.action, told.weight), weighted)
        judged = Judged(value + self.gap, psi, float(told.n), 1.0)
        return told.estimate(judged, self.alpha, f"bound at Λ = {lam:g}")


def _bounds(evidence: Evidence, alpha: float) -> tuple[_Bound, _Bound]:
    """Of the difference from below, and of its negative from below."""
    gap = evidence.unsupported
    return (
        _Bound(evidence, Confounded.of(evidence, 1.0), gap.lower, alpha),
        _Bound(evidence, Confounded.of(evidence, -1.0), -gap.upper, alpha),
    )


def sensitivity_of(evidence: Evidence, *, margin: float = 0.0, alpha: float = 0.05) -> Sensitivity:
    """Bounds over Λ and the tipping point, of evidence gathered already."""
    below, above = _bounds(evidence, alpha)
    low = [below(lam) for lam in GRID]
    high = [above(lam) for lam in GRID]
    verdict: Literal["above", "below"] | None = None
    tipping = tipping_estimate = 1.0
    for side, told, bound, wall in (("above", low[0], below, margin), ("below", high[0], above, -margin)):
        if told.interval[0] > wall:
            verdict = side  # type: ignore[assignment]
            tipping = _tipping(bound, wall, lambda one: one.interval[0])
            tipping_estimate = _tipping(bound, wall, lambda one: one.value)
    return Sensitivity(
        grid=np.array(GRID),
        lower=np.array([one.value for one in low]),
        upper=np.array([-one.value for one in high]),
        surely_above=np.array([one.interval[0] for one in low]),
        surely_below=np.array([-one.interval[0] for one in high]),
        margin=margin,
        alpha=alpha,
        verdict=verdict,
        tipping=tipping,
        tipping_estimate=tipping_estimate,
    )


def _tipping(bound: _Bound, wall: float, end: Callable[[Estimate], float]) -> float:
    """Smallest Λ at which an end of the bound reaches the wall, to a thousandth; infinite beyond 100."""
    low, high = 1.0, 1.05
    while end(bound(high)) > wall:
        if high >= MOST:
            return math.inf
        low, high = high, min(1.0 + 2.0 * (high - 1.0), MOST)
    while high - low > 1e-3 * low:
        middle = (low + high) / 2
        low, high = (middle, high) if end(bound(middle)) > wall else (low, middle)
    return low


def sensitivity(
    log: DecisionLog,
    candidate: Judgeable,
    baseline: Judgeable,
    *,
    outcome: str | None = None,
    q_hat: ArrayLike | None = None,
    margin: float = 0.0,
    alpha: float = 0.05,
    support_floor: float = 0.0,
    outcome_range: tuple[float, float] | None = None,
) -> Sensitivity:
    """How strong must unlogged confounding be before the difference of two policies is in doubt?

    The bounds are Dorn and Guo's (2022) sharp ones of the marginal sensitivity model (Tan 2006; Zhao, Small and
    Bhattacharya 2019), for every action against the others; at Λ = 1 they are the doubly robust difference. They hold
    whether or not the quantiles they use are good, and are sharp where those are and there are two actions; with more
    the bounds of single actions may not all be reached together, and the truth is narrower. The intervals are normal.

    Args:
        log: held-out rows.
        candidate, baseline: policies, or their probabilities (n, A).
        outcome: which outcome; the first when None.
        q_hat: (n, A) or (A,) predicted outcomes; cross-fitted on the log when None.
        margin: what the difference is compared with.
        alpha: probability the intervals are meant to miss.
        support_floor: an action with a propensity at or below this counts as never tried.
        outcome_range: (lowest, highest) outcome, for what was never tried; that of the log when None.

    Raises:
        LeakageError: rows of the log fitted a policy.
        DataError: probabilities or ``q_hat`` that do not fit the log.
        ParameterError: a margin that is not finite.
    """
    require_log(log, "sensitivity")
    if not is_number(margin) or not math.isfinite(margin):
        raise ParameterError(f"margin is {margin!r}", remedy="Pass a finite number, in outcome units per head.")
    evidence = gather(
        log,
        candidate,
        baseline,
        outcome=outcome,
        q_hat=q_hat,
        support_floor=support_floor,
        outcome_range=outcome_range,
    )
    return sensitivity_of(evidence, margin=margin, alpha=alpha)
