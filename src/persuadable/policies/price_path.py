"""Budgets as prices: what each price of money makes a population spend, and which price a budget comes to.

Units choose among actions with an incremental value v and an incremental cost c over doing nothing. At a price λ a unit
takes the action with the largest v − λc. As λ falls from infinity to 0 it climbs the upper hull of its (c, v) points,
one increment Δv/Δc at a time; all units' increments, sorted, are the whole path of allocations (Zemel 1984; Sverdrup,
Wu, Athey, Wager 2024), and a budget is a place on it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from persuadable.policies.hull import SAME_PRICE, hull_steps
from persuadable.policies.threshold import joints

if TYPE_CHECKING:
    import polars as pl

__all__ = ["Price", "PriceCurve", "PricePath"]

Floats = NDArray[np.float64]
Binds = Literal["budget", "roi", "nothing", "evidence"]

MOST_POINTS = 100_000


@dataclass(frozen=True, slots=True)
class Price:
    """A budget as a rule: every unit takes the action with the largest v − ``price``·c.

    Attributes:
        budget: spend per head asked for; None for no budget.
        price: λ, value per unit of money that the last increment brings; infinite where nothing that costs is given.
        tie_probability: of the costliest of the actions that tie at the largest v − λc; else the cheapest is taken.
        spend: expected cost per head, on the rows the path was drawn from.
        value: expected incremental value per head there, as predicted (less the aversion, where there is one).
        offered: expected share of units that are given an offer there.
        binds: what limits the spend: the "budget", the "roi" floor, "nothing" (every positive effect is bought), or the
            lack of "evidence" that the predicted effects are there at all.
    """

    budget: float | None
    price: float
    tie_probability: float
    spend: float
    value: float
    offered: float
    binds: Binds


@dataclass(frozen=True, slots=True, eq=False)
class PriceCurve:
    """What each budget means, as the effects predict it (all arrays (k,), per head).

    Attributes:
        budget: spend asked for.
        price: λ, which is dV/dB: what one more unit of money brings.
        spend: expected cost, below ``budget`` where something else binds.
        value: expected incremental value.
        offered: expected share of units with an offer.
    """

    budget: Floats
    price: Floats
    spend: Floats
    value: Floats
    offered: Floats

    @classmethod
    def of(cls, prices: Sequence[Price]) -> PriceCurve:
        """The curve through some budgets' prices."""
        return cls(**{name: np.array([getattr(p, name) for p in prices], dtype=np.float64) for name in cls.__slots__})

    def frame(self) -> pl.DataFrame:
        """The curve as a polars frame, one row per budget."""
        import polars as pl

        return pl.DataFrame({name: getattr(self, name) for name in self.__slots__})


@dataclass(frozen=True, slots=True, eq=False)
class PricePath:
    """The path of allocations from no budget to all, per head of the rows it was drawn from.

    At each price of the path, in falling order, all increments worth at least as much are bought.

    Attributes:
        price: (m,) falling positive prices.
        spend: (m,) cost per head of what is bought at the price and above, rising.
        value: (m,) its value per head, rising.
        offered: (m,) the share of units with an offer.
        start: (spend ≤ 0, value, offered) at an infinite price: offers that cost nothing, or save money.
        n: rows the path was drawn from.
    """

    price: Floats
    spend: Floats
    value: Floats
    offered: Floats
    start: tuple[float, float, float]
    n: int

    @classmethod
    def of(
        cls,
        value: Floats,
        cost: Floats,
        allowed: NDArray[np.bool_],
        weight: NDArray[Any] | None = None,
        limit: int = MOST_POINTS,
    ) -> PricePath:
        """The path of n units; ``value``, ``cost`` and ``allowed`` as in `hull_steps`, ``weight`` (n,).

        Above ``limit`` prices neighbours share the higher one, so that a budget may be undershot, by a few parts in
        ``limit`` of all there is to spend, and is not overshot.
        """
        n = value.shape[0]
        share = np.full(n, 1.0 / n) if weight is None else np.asarray(weight, dtype=np.float64) / float(np.sum(weight))
        steps = hull_steps(value, cost, allowed)
        everybody = np.arange(n)
        start = (
            float(share @ cost[everybody, steps.base]),
            float(share @ value[everybody, steps.base]),
            float(share @ (steps.base > 0)),
        )
        order = np.argsort(-steps.ratio, kind="stable")
        price, unit = steps.ratio[order], steps.unit[order]
        before, after = steps.before[order], steps.after[order]
        risen = (cost[unit, after] - cost[unit, before], value[unit, after] - value[unit, before], before == 0)
        per_step = np.stack([share[unit] * part for part in risen])
        first = _first_of(price)
        if first.size:
            first = first[joints(np.add.reduceat(per_step[0], first), limit)]
        total = np.cumsum(per_step, axis=1)[:, np.append(first[1:], price.size) - 1] if first.size else per_step
        spend, gain, offered = (base + part for base, part in zip(start, total, strict=True))
        return cls(price[first], spend, gain, offered, start, n)

    @classmethod
    def read(cls, arrays: Mapping[str, NDArray[Any]], start: ArrayLike, n: int) -> PricePath:
        """The path back from its arrays, as they were saved.

        Raises:
            ValueError: prices that do not fall or are not positive, totals that do not rise, or another shape or type.
            KeyError: an array is missing.
        """
        price, spend, value, offered = (arrays[name] for name in ("price", "spend", "value", "offered"))
        base = np.asarray(start, dtype=np.float64)
        fits = all(a.ndim == 1 and a.shape == price.shape and a.dtype == np.float64 for a in (price, spend, value))
        if not (fits and offered.shape == price.shape and offered.dtype == np.float64 and base.shape == (3,)):
            raise ValueError("a price path of another shape or type")
        if not (type(n) is int and n > 0 and all(np.isfinite(a).all() for a in (price, spend, value, offered, base))):
            raise ValueError("a price path without rows, or with values that are not finite")
        if not ((price > 0).all() and (price[1:] < price[:-1]).all()):
            raise ValueError("the prices of a path do not fall")
        totals = np.stack([np.append(b, a) for b, a in zip(base, (spend, value, offered), strict=True)])
        if not ((np.diff(totals[:2], axis=1) >= 0).all() and base[0] <= 0 <= base[1] + 1e-9):
            raise ValueError("what a price path spends and brings does not rise")
        if not ((totals[2] >= -1e-9) & (totals[2] <= 1 + 1e-9)).all():
            raise ValueError("the shares of a price path are no shares")
        return cls(price, spend, value, offered, (float(base[0]), float(base[1]), float(base[2])), n)

    @property
    def most(self) -> float:
        """The cost per head of everything that is predicted to bring anything."""
        return float(self.spend[-1]) if self.spend.size else self.start[0]

    def cut(self, budget: float | None, roi_floor: float | None = None) -> Price:
        """The rule whose expected spend is ``budget`` a head, or less where the ROI floor or the effects run out.

        With V and C what is bought so far, an ROI floor ρ stops the path where V = ρC: the average return falls along
        the path, so one price serves both limits. At it the increments are bought with the probability that makes the
        limit exact.
        """
        place, binds = math.inf, "nothing"
        if budget is not None and (reached := self._place(self.spend, self.start[0], budget)) < self.price.size:
            place, binds = reached, "budget"
        if roi_floor is not None:
            deficit = roi_floor * self.spend - self.value
            base = roi_floor * self.start[0] - self.start[1]
            if (reached := self._last_place(deficit, base)) < min(place, self.price.size):
                place, binds = reached, "roi"
        return self._at(budget, place, binds)  # type: ignore[arg-type]

    def _place(self, total: Floats, base: float, limit: float) -> float:
        """How far along the path ``total`` (rising) reaches ``limit``: whole steps, and the part of the next one."""
        k = int(np.searchsorted(total, limit, side="right"))
        if k == total.size:
            return math.inf
        before = float(total[k - 1]) if k else base
        return k + max(limit - before, 0.0) / (float(total[k]) - before)

    def _last_place(self, deficit: Floats, base: float) -> float:
        """How far along the path ρC − V stays at or below 0: it is convex along the path, and starts there."""
        broken = np.flatnonzero(deficit > 0.0)
        if not broken.size:
            return math.inf
        k = int(broken[0])
        before = float(deficit[k - 1]) if k else base
        return k + (0.0 if before >= 0.0 else -before / (float(deficit[k]) - before))

    def _at(self, budget: float | None, place: float, binds: Binds) -> Price:
        if place == math.inf:
            return Price(budget, 0.0, 0.0, *self._totals(self.price.size), binds)
        k = min(int(place), self.price.size - 1)
        tie = min(place - k, 1.0)
        if k == 0 and tie == 0.0:
            return Price(budget, math.inf, 0.0, *self.start, binds)
        before, after = self._totals(k), self._totals(k + 1)
        spend, value, offered = ((1.0 - tie) * b + tie * a for b, a in zip(before, after, strict=True))
        return Price(budget, float(self.price[k]), tie, spend, value, offered, binds)

    def _totals(self, k: int) -> tuple[float, float, float]:
        """(spend, value, offered) once k prices are bought at."""
        if k == 0:
            return self.start
        return float(self.spend[k - 1]), float(self.value[k - 1]), float(self.offered[k - 1])


def _first_of(price: Floats) -> NDArray[np.intp]:
    """Where each distinct price (falling) begins."""
    starts = np.ones(price.size, dtype=np.bool_)
    starts[1:] = price[1:] < price[:-1] * (1.0 - SAME_PRICE)
    return np.flatnonzero(starts)
