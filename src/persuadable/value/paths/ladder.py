"""All units' steps in the order in which a growing budget pays for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from persuadable.policies.base import Floats
from persuadable.policies.hull import Codes, Steps

__all__ = ["Along", "Ladder", "Taken"]


@dataclass(frozen=True, slots=True)
class Taken:
    """Which steps of a ladder a budget, or a price, pays for.

    Attributes:
        group: all groups before this one are taken whole.
        fraction: of this one, in [0, 1).
        whole: the first so many steps are taken whole.
        until: those from there to here, the group's, are taken by ``fraction``.
    """

    group: int
    fraction: float
    whole: int
    until: int


@dataclass(frozen=True, slots=True, eq=False)
class Along:
    """A quantity of the actions, followed up a ladder.

    Attributes:
        base: (n,) at each unit's base.
        step: (m,) what each step adds.
        level: (G + 1,) its mean over the units at each edge of the ladder.
    """

    base: Floats
    step: Floats
    level: Floats

    def under(self, unit: Codes, taken: Taken) -> Floats:
        """(n,) per unit, with these steps taken."""
        reached = self.base + np.bincount(
            unit[: taken.whole], weights=self.step[: taken.whole], minlength=self.base.shape[0]
        )
        part = slice(taken.whole, taken.until)
        np.add.at(reached, unit[part], taken.fraction * self.step[part])
        return np.asarray(reached)

    def weighed(self, unit: Codes, weights: Floats) -> Floats:
        """(n,) what all steps add per unit, each taken by its weight (m,)."""
        return np.asarray(
            np.bincount(unit, weights=weights * self.step, minlength=self.base.shape[0]), dtype=np.float64
        )

    def mean(self, taken: Taken) -> float:
        """The mean over the units, with these steps taken."""
        reached = float(self.level[taken.group])
        return reached + taken.fraction * float(self.level[taken.group + 1] - reached) if taken.fraction else reached


@dataclass(frozen=True, slots=True, eq=False)
class Ladder:
    """m steps of n units by falling ratio; steps of one ratio are a group, and enter together.

    A budget that ends within a group takes the same fraction of each of its steps, so the order of the rows never
    matters, and every mean is linear in the budget within a group.

    Attributes:
        base: (n,) actions before the first step.
        unit, before, after: (m,) whose step, from which action, to which.
        ratio: (G,) value per cost of each group, falling.
        start: (G + 1,) where each group begins; the last is m.
        edge: (G + 1,) mean predicted cost per head before each group; the last is the cost of all steps.
        share: (n,) each unit's share of the population, summing to 1.
        mass: (m,) the same of whose step it is.
    """

    base: Codes
    unit: Codes
    before: Codes
    after: Codes
    ratio: Floats
    start: NDArray[np.intp]
    edge: Floats
    share: Floats
    mass: Floats

    @classmethod
    def of(cls, steps: Steps, cost: Floats, share: Floats) -> Self:
        """The ladder of these steps; ``cost`` (n, A) is what is charged to the budget."""
        order = np.argsort(-steps.ratio, kind="stable")
        unit, before, after = (part[order] for part in (steps.unit, steps.before, steps.after))
        ratio = steps.ratio[order]
        fresh = np.flatnonzero(np.diff(ratio)) + 1
        begins = np.concatenate([[0], fresh] if ratio.shape[0] else [fresh]).astype(np.intp)
        start = np.append(begins, ratio.shape[0]).astype(np.intp)
        mass = share[unit]
        bare = cls(steps.base, unit, before, after, ratio[begins], start, np.zeros(start.shape[0]), share, mass)
        edge = np.maximum.accumulate(bare.follow(cost).level)
        return cls(bare.base, unit, before, after, bare.ratio, start, edge, share, mass)

    @property
    def full(self) -> float:
        """What all steps cost per head."""
        return float(self.edge[-1])

    def follow(self, table: Floats) -> Along:
        """A quantity given for every unit and action (n, A), along the ladder."""
        base = table[np.arange(self.base.shape[0]), self.base]
        step = table[self.unit, self.after] - table[self.unit, self.before]
        running = np.concatenate([[0.0], np.cumsum(self.mass * step)])
        return Along(base, step, float(self.share @ base) + running[self.start])

    def group(self, budget: float) -> int:
        """The group in which a budget ends; G where it pays for all."""
        return max(int(np.searchsorted(self.edge, budget, side="right")) - 1, 0)

    def price(self, budget: float) -> float:
        """λ at a budget: the argmax at this price spends no more, at any lower price it would; 0 where all is paid."""
        group = self.group(budget)
        return float(self.ratio[group]) if group < self.ratio.shape[0] else 0.0

    def paid(self, budget: float) -> Taken:
        """What a budget per head pays for."""
        group = self.group(budget)
        if group == self.ratio.shape[0]:
            return self._whole(group)
        left, right = self.edge[group], self.edge[group + 1]
        fraction = max(float((budget - left) / (right - left)), 0.0)
        return Taken(group, fraction, int(self.start[group]), int(self.start[group + 1]))

    def worth(self, price: float) -> Taken:
        """What is worth a price: the steps with a ratio above it."""
        return self._whole(int(np.searchsorted(-self.ratio, -price, side="left")))

    def _whole(self, group: int) -> Taken:
        return Taken(group, 0.0, int(self.start[group]), int(self.start[group]))

    def shares(self, taken: Taken, n_actions: int) -> Floats:
        """(A,) share of the units that gets each action."""
        found = np.bincount(self.base, weights=self.share, minlength=n_actions)
        whole, part = slice(taken.whole), slice(taken.whole, taken.until)
        for steps, fraction in ((whole, 1.0), (part, taken.fraction)):
            mass = fraction * self.mass[steps]
            found += np.bincount(self.after[steps], weights=mass, minlength=n_actions)
            found -= np.bincount(self.before[steps], weights=mass, minlength=n_actions)
        return np.asarray(found)

    def slope(self, level: Floats, budget: float) -> float:
        """What one more unit of budget adds to a mean that stands at ``level`` (G + 1,) at the edges.

        The mean's slope over a window around the budget, whose half is ½·n^(−1/5) of the whole path, near the start no
        more than what is spent; within a group wider than that, the group's own slope. It multiplies a term of order
        n^(−½), so a rough estimate will do. 0 where all is paid.
        """
        group = self.group(budget)
        if group == self.ratio.shape[0] or budget <= self.edge[0]:
            return 0.0
        half = 0.5 * self.base.shape[0] ** -0.2 * (self.full - float(self.edge[0]))
        half = min(half, budget - float(self.edge[0]))
        own = float(self.edge[group + 1] - self.edge[group]) >= half
        first, last = (self.edge[group], self.edge[group + 1]) if own else (self.edge[0], self.edge[-1])
        low, high = max(budget - half, float(first)), min(budget + half, float(last))
        return float((np.interp(high, self.edge, level) - np.interp(low, self.edge, level)) / (high - low))

    def means(self, lower: float, upper: float) -> Floats:
        """(G,) how much of each group's steps is taken on average over the budgets from lower to upper."""
        return (self._paid_below(upper) - self._paid_below(lower)) / (upper - lower)

    def _paid_below(self, budget: float) -> Floats:
        width = np.diff(self.edge)
        return np.asarray(0.5 * width * self._part(budget) ** 2 + np.maximum(budget - self.edge[1:], 0.0))

    def slopes(self, level: Floats, lower: float, upper: float) -> Floats:
        """(G,) the same averages, each budget weighted by the slope of ``level`` there; exact, without a window."""
        return (self._gained_below(level, upper) - self._gained_below(level, lower)) / (upper - lower)

    def _gained_below(self, level: Floats, budget: float) -> Floats:
        beyond = np.where(budget > self.edge[1:], np.interp(budget, self.edge, level) - level[1:], 0.0)
        return np.asarray(0.5 * np.diff(level) * self._part(budget) ** 2 + beyond)

    def _part(self, budget: float) -> Floats:
        """(G,) the part of each group that a budget pays for."""
        width = np.diff(self.edge)
        with np.errstate(divide="ignore", invalid="ignore"):
            part = np.where(width > 0, (budget - self.edge[:-1]) / width, budget >= self.edge[1:])
        return np.asarray(np.clip(part, 0.0, 1.0))

    def spread(self, by_group: Floats) -> Floats:
        """(m,) a number per group, for each of its steps."""
        return np.repeat(by_group, np.diff(self.start))
