"""The steps between a unit's actions on the upper hull of its points, in the order a budget takes them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from persuadable.errors import DataError
from persuadable.policies.allocation.problem import Population, Problem, in_blocks
from persuadable.policies.allocation.result import ROUNDING

__all__ = ["NO_ROWS", "NO_STEPS", "Limits", "Steps", "blocks_of_steps", "collect", "finite", "steps_of"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Found = tuple[Floats, Floats, Floats, Ints]  # ratio, Δc, Δv, row
Totals = tuple[float, ...]  # value, cost, refunds

NO_ROWS = np.empty(0, dtype=np.int64)
NO_STEPS: Found = np.empty(0), np.empty(0), np.empty(0), NO_ROWS


@dataclass(frozen=True, slots=True)
class Limits:
    """What must be kept.

    Attributes:
        budget: Σc ≤ budget, infinite where there is none.
        roi: Σv ≥ roi · Σc; 0 where there is no such floor.
        refunds: what actions that save money save, by which sums of costs are larger than the budget and so less exact.
    """

    budget: float
    roi: float = 0.0
    refunds: float = 0.0

    def spendable(self, part: float = 1.0) -> float:
        """The budget, rounding of sums forgiven."""
        return self.budget + part * ROUNDING * (abs(self.budget) + self.refunds)

    def slack(self, value: Any, cost: Any, part: float = 1.0) -> Any:
        """Σv − ρΣc, rounding of sums forgiven; infinite where there is no floor. Elementwise."""
        if self.roi == 0.0:
            return math.inf
        return value - self.roi * cost + part * ROUNDING * (np.abs(value) + self.roi * self.refunds)

    def broken(self, value: Any, cost: Any, price: Any, part: float = 1.0) -> Any:
        """Whether the walk has gone too far when it is down to a price. Elementwise."""
        over = cost > self.spendable(part)
        return over | ((price < self.roi) & (self.slack(value, cost, part) < 0.0)) if self.roi > 0.0 else over


@dataclass(frozen=True, slots=True, eq=False)
class Steps:
    """The totals at a price, and the steps of all hulls from there down to another, steepest first.

    Attributes:
        value, cost, refunds: totals at the upper price; what costs below zero come to.
        ratio, dc, dv: (k,) the steps: Δv/Δc, Δc, Δv.
        row: (k,) whose they are.
    """

    value: float
    cost: float
    refunds: float
    ratio: Floats
    dc: Floats
    dv: Floats
    row: Ints

    @classmethod
    def of(cls, totals: Sequence[Totals], parts: Sequence[Found]) -> Self:
        """From the totals and steps of blocks, sorted; equals stay in the order of their rows.

        Raises:
            DataError: totals that overflow.
        """
        value, cost, refunds = (finite(each) for each in zip(*totals, strict=True)) if totals else (0.0, 0.0, 0.0)
        ratio, dc, dv, row = (np.concatenate(columns) for columns in zip(*parts, strict=True))
        order = np.argsort(-ratio, kind="stable")
        return cls(value, cost, refunds, ratio[order], dc[order], dv[order], row[order])

    def walked(self) -> tuple[Floats, Floats]:
        """(k,) value and cost after each step.

        Raises:
            DataError: a total overflows.
        """
        with np.errstate(over="ignore", invalid="ignore"):  # what overflows is refused here
            value, cost = self.value + np.cumsum(self.dv), self.cost + np.cumsum(self.dc)
        if len(value):
            finite([value[-1], cost[-1]])
        return value, cost

    def stop(self, limits: Limits) -> int | None:
        """The first step that breaks a limit; None where none does."""
        # Half of what is forgiven later, when the same numbers are added up in another order.
        over = replace(limits, refunds=self.refunds).broken(*self.walked(), self.ratio, 0.5)
        return int(over.argmax()) if over.any() else None


def blocks_of_steps(population: Population, low: float, high: float, threads: int) -> Iterator[tuple[Totals, Found]]:
    """Block by block: totals at price ``high``, and the steps (Δv/Δc, Δc, Δv, row) with low < Δv/Δc ≤ high.

    Raises:
        DataError: a number that is not finite, or a column 0 that is not zero.
    """
    from persuadable.policies.allocation import kernels

    for start, part in population.parts():

        def one(first: int, last: int, part: Problem = part, start: int = start) -> tuple[Totals, Found]:
            v, c, forced = part.block(first, last)
            room = (last - first) * (part.n_actions - 1)
            ratio, dc, dv, row = np.empty(room), np.empty(room), np.empty(room), np.empty(room, dtype=np.int64)
            k, *totals, fine = kernels.collect(v, c, forced, part.efficiency_floor, low, high, ratio, dc, dv, row)
            if not fine:
                part.refuse(first, last, start)
            return tuple(totals), (ratio[:k].copy(), dc[:k].copy(), dv[:k].copy(), row[:k] + (start + first))

        yield from in_blocks(part, one, threads)


def collect(population: Population, low: float, high: float, threads: int, most: int | None = None) -> Steps | None:
    """Totals at price ``high`` and every step with low < Δv/Δc ≤ high; None where there are more than ``most``.

    Raises:
        DataError: a number that is not finite, or a column 0 that is not zero; totals that overflow.
    """
    totals: list[Totals] = []
    kept, count = [NO_STEPS], 0
    for added, steps in blocks_of_steps(population, low, high, threads):
        totals.append(added)
        kept.append(steps)
        count += len(steps[0])
        if most is not None and count > most:
            return None
    return Steps.of(totals, kept)


def steps_of(population: Population, threads: int) -> Steps:
    """Every step there is, from an infinite price down to 0."""
    steps = collect(population, 0.0, math.inf, threads)
    assert steps is not None  # there was no limit to their number
    return steps


def finite(parts: Sequence[float]) -> float:
    """Their sum, free of rounding.

    Raises:
        DataError: it overflows.
    """
    try:
        total = math.fsum(parts)
    except (OverflowError, ValueError):  # ValueError: infinities of both signs
        total = math.inf
    if not math.isfinite(total):
        raise DataError("Values or costs are so large that their total overflows", remedy="Pass them in another unit.")
    return total
