"""Budgets as thresholds: which scores the best share of a distribution lies above.

Everything here is arithmetic on one distribution of scores; what the scores mean is the policies' business.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from persuadable.errors import DataError

if TYPE_CHECKING:
    import polars as pl

__all__ = ["BudgetCurve", "ScoreDistribution", "Threshold", "joints", "treat_probability"]

Floats = NDArray[np.float64]

MOST_POINTS = 1_000_000


@dataclass(frozen=True, slots=True)
class Threshold:
    """A budget as a rule: treat above ``threshold``, and at it with ``tie_probability``.

    Attributes:
        share: the share asked for.
        threshold: in the units of the score; infinite when nobody is to be treated.
        tie_probability: of treating a unit whose score equals the threshold, in [0, 1).
        expected_share: the share treated on the distribution; below ``share`` where the floor binds.
        binds: what limits the treatments, the "budget" or the "break-even" floor.
    """

    share: float
    threshold: float
    tie_probability: float
    expected_share: float
    binds: Literal["budget", "break-even"]


@dataclass(frozen=True, slots=True, eq=False)
class ScoreDistribution:
    """Distinct scores in rising order and the mass at each.

    Attributes:
        values: (m,) distinct scores, −inf for units that may not be treated.
        mass: (m,) how many units (or how much weight) each score has.
        n: rows the distribution was drawn from.
    """

    values: Floats
    mass: Floats
    n: int
    _reached: Floats = field(init=False, repr=False)  # mass of the k + 1 highest scores: a service cuts often

    def __post_init__(self) -> None:
        object.__setattr__(self, "_reached", np.cumsum(self.mass[::-1]))

    @classmethod
    def of(cls, scores: ArrayLike, weight: ArrayLike | None = None, limit: int = MOST_POINTS) -> ScoreDistribution:
        """The distribution of scores (n,), weighted (n,); above ``limit`` distinct scores, neighbours are joined.

        Raises:
            DataError: no scores, or a score that is NaN or +inf.
        """
        s = np.asarray(scores, dtype=np.float64).ravel()
        if s.size == 0:
            raise DataError("There are no scores to take a budget from", remedy="Calibrate on a log with rows.")
        bad = np.flatnonzero(np.isnan(s) | (s == np.inf))
        if bad.size:
            raise DataError(
                f"A score is {s[bad[0]]}",
                where=f"row {bad[0]}, and {bad.size - 1} more",
                remedy="Scores must be finite numbers; look at what the model made of these rows' features.",
            )
        if weight is None:
            values, mass = np.unique(s, return_counts=True)
        else:
            values, inverse = np.unique(s, return_inverse=True)
            mass = np.bincount(inverse, weights=np.asarray(weight, dtype=np.float64), minlength=values.size)
        values, masses = _joined(values, mass.astype(np.float64), limit)
        return cls(values, masses, int(s.size))

    @classmethod
    def read(cls, values: NDArray[Any], mass: NDArray[Any], n: int) -> ScoreDistribution:
        """The distribution back from its arrays, as they were saved.

        Raises:
            ValueError: values that do not rise, are NaN or +inf, mass that is not positive, or another shape or type.
        """
        fits = values.ndim == 1 and values.shape == mass.shape and values.dtype == mass.dtype == np.float64
        if not (fits and values.size and type(n) is int and n > 0):
            raise ValueError("a distribution of another shape or type")
        if not ((values[1:] > values[:-1]).all() and values[-1] < math.inf and not np.isnan(values[0])):
            raise ValueError("the scores of a distribution do not rise, or are not finite")
        if not ((mass > 0).all() and math.isfinite(float(mass.sum()))):
            raise ValueError("the mass of a distribution is not positive and finite")
        return cls(values, mass, n)

    @property
    def total(self) -> float:
        """All the mass."""
        return float(self.mass.sum())

    def share_above(self, score: float, *, or_equal: bool = False) -> float:
        """The share of the distribution above a score, or at it as well."""
        first = int(np.searchsorted(self.values, score, side="left" if or_equal else "right"))
        return float(self.mass[first:].sum()) / self.total

    def cut(self, share: float, floor: float = -math.inf) -> Threshold:
        """The rule that treats exactly ``share`` of the distribution, and nobody at or below ``floor``.

        With F the distribution, t = F⁻¹(1 − share); at t the tie probability is
        (share − P(S > t)) / P(S = t), so that P(S > t) + q·P(S = t) = share.
        """
        total = self.total
        lowest = int(np.searchsorted(self.values, floor, side="right"))
        worth = float(self.mass[lowest:].sum())
        if share <= 0.0:
            return Threshold(share, math.inf, 0.0, 0.0, "budget")
        wanted = share * total
        if wanted >= worth:
            # At exactly `worth` both limits bind; the floor generalises better than the smallest score seen.
            reached = math.isclose(wanted, worth, rel_tol=1e-12)
            return Threshold(share, floor, 0.0, worth / total, "budget" if reached else "break-even")
        back = min(int(np.searchsorted(self._reached, wanted, side="right")), self.values.size - 1 - lowest)
        above = float(self._reached[back - 1]) if back else 0.0
        k = self.values.size - 1 - back
        tie = min((wanted - above) / float(self.mass[k]), 1.0)
        return Threshold(share, float(self.values[k]), tie, (above + tie * float(self.mass[k])) / total, "budget")

    def curve(self, shares: ArrayLike, floor: float = -math.inf) -> BudgetCurve:
        """Thresholds and predicted gains over a grid of shares."""
        cuts = [self.cut(float(s), floor) for s in np.atleast_1d(np.asarray(shares, dtype=np.float64))]
        gains = np.array([self._gain(c) for c in cuts])
        expected = np.array([c.expected_share for c in cuts])
        mean = np.divide(gains, expected, out=np.full(gains.shape, np.nan), where=expected > 0)
        return BudgetCurve(
            share=np.array([c.share for c in cuts]),
            threshold=np.array([c.threshold for c in cuts]),
            tie_probability=np.array([c.tie_probability for c in cuts]),
            expected_share=expected,
            gain_per_head=gains,
            mean_of_treated=mean,
        )

    def _gain(self, cut: Threshold) -> float:
        first = int(np.searchsorted(self.values, cut.threshold, side="right"))
        gain = float(self.values[first:] @ self.mass[first:])
        if cut.tie_probability > 0.0:
            gain += cut.tie_probability * cut.threshold * float(self.mass[first - 1])
        return gain / self.total


@dataclass(frozen=True, slots=True, eq=False)
class BudgetCurve:
    """What each share of a budget means, as the scores predict it (all arrays (k,)).

    Attributes:
        share: shares asked for.
        threshold: lowest score treated.
        tie_probability: of treating at the threshold.
        expected_share: share treated, below ``share`` where the break-even floor binds.
        gain_per_head: predicted gain per head of the whole population, in units of the score.
        mean_of_treated: mean score of the treated; NaN where nobody is treated.
    """

    share: Floats
    threshold: Floats
    tie_probability: Floats
    expected_share: Floats
    gain_per_head: Floats
    mean_of_treated: Floats

    def frame(self) -> pl.DataFrame:
        """The curve as a polars frame, one row per share."""
        import polars as pl

        return pl.DataFrame({name: getattr(self, name) for name in self.__slots__})


def _joined(values: Floats, mass: Floats, limit: int) -> tuple[Floats, Floats]:
    """At most ``limit`` support points: heavy ties keep their exact mass, light neighbours share a point."""
    first = joints(mass, limit)
    return (values, mass) if first.size == values.size else (values[first], np.add.reduceat(mass, first))


def joints(mass: Floats, limit: int) -> NDArray[np.intp]:
    """Where each of at most ``limit`` points begins, if heavy ones among (m,) masses stay alone and light ones join.

    A point stands for at most 8/limit of the mass beyond its first value, which bounds the error of any share.
    """
    if mass.size <= limit:
        return np.arange(mass.size)
    heavy = mass > 4.0 * mass.sum() / limit
    # Fewer than limit/4 are heavy, their far borders are as many, and the light mass is cut into limit/4 cells.
    light = np.where(heavy, 0.0, mass)
    cell = np.floor(np.cumsum(light) / light.sum() * (limit // 4)) if light.any() else np.zeros(mass.size)
    starts = np.ones(mass.size, dtype=np.bool_)
    starts[1:] = (np.diff(cell) != 0) | heavy[1:] | heavy[:-1]
    return np.flatnonzero(starts)


def treat_probability(scores: ArrayLike, cut: Threshold) -> Floats:
    """(n,) probability of treating: 1 above the threshold, the tie probability at it, 0 below."""
    s = np.asarray(scores, dtype=np.float64)
    return np.where(s > cut.threshold, 1.0, np.where(s == cut.threshold, cut.tie_probability, 0.0))
