"""At which price the budget is spent: between two that a sample gives, or found by counting steps bin by bin."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from persuadable.errors import DataError, Infeasible
from persuadable.policies.allocation.problem import Population
from persuadable.policies.allocation.steps import (
    NO_ROWS,
    NO_STEPS,
    Limits,
    Steps,
    blocks_of_steps,
    collect,
    steps_of,
)

__all__ = ["CORE", "Found", "find_price"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SAMPLE = 65_536  # units; a population no larger is sorted outright
MOST_STEPS = 4_000_000  # kept in one pass
CORE = 512  # units next in line, among whom what is left of the budget is spent
BINS = 16  # bits that tell the bins of a survey apart
FEW = 16  # steps of a sample
WIDE = 5.0  # standard errors of the sample's totals between which the price is looked for
MOST = float(np.finfo(np.float64).max)


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """Where the walk stops.

    Attributes:
        price: λ*, 0 where nothing stops it.
        core: rows whose steps come next, first the one that no longer fits.
        refunds: what actions that save money save.
    """

    price: float
    core: Ints
    refunds: float

    @classmethod
    def of(cls, steps: Steps, limits: Limits) -> Self:
        """From the steps around the stop; the core is the first CORE rows from there on, or all there are."""
        stop = steps.stop(limits)
        if stop is None:
            return cls(0.0, NO_ROWS, steps.refunds)
        rows, first = np.unique(steps.row[stop:], return_index=True)
        return cls(float(steps.ratio[stop]), rows[np.argsort(first, kind="stable")][:CORE], steps.refunds)


def find_price(population: Population, limits: Limits, threads: int) -> Found:
    """The price at which the walk breaks a limit.

    Raises:
        DataError: numbers that cannot be used.
        Infeasible: forced actions cost more than the budget.
    """
    low, high = _guess(population, limits, threads)
    steps = collect(population, low, high, threads, MOST_STEPS)
    if steps is None or _beyond(steps, limits, high):
        low, high = _narrowed(population, limits, threads, 0.0, math.inf)
    else:
        found = Found.of(steps, limits)
        if low == 0.0 or len(found.core) >= CORE:
            return found
        low, high = _narrowed(population, limits, threads, 0.0, high if found.price > 0.0 else low)
    steps = collect(population, low, high, threads)  # none where the two are one
    assert steps is not None  # there was no limit to their number
    found = Found.of(steps, limits)
    # The sums of a survey are in another order, so it may have seen a limit broken that these steps just keep.
    return found if found.price > 0.0 else replace(found, price=low)


def _beyond(steps: Steps, limits: Limits, high: float) -> bool:
    """Whether a limit is broken even at the upper price.

    Raises:
        Infeasible: it is broken at every price.
    """
    broken = bool(replace(limits, refunds=steps.refunds).broken(steps.value, steps.cost, high))
    if broken and high == math.inf:
        raise Infeasible(
            f"The least that can be spent is {steps.cost:,.6g}, the budget is {limits.budget:,.6g}",
            where="forced actions",
            remedy="Raise the budget, or force fewer units.",
        )
    return broken


def _guess(population: Population, limits: Limits, threads: int) -> tuple[float, float]:
    """Two prices that a sample says the answer lies between; 0 and infinity where the sample is everybody."""
    sample = population.sample(SAMPLE)
    if sample.n >= population.n:
        return 0.0, math.inf
    try:
        steps = steps_of(sample, threads)
    except DataError:
        return 0.0, math.inf  # the pass over everybody will say in which row
    if not len(steps.ratio):
        return 0.0, math.inf
    share = sample.n / population.n
    here = replace(limits, budget=limits.budget * share)
    value, cost = steps.walked()
    stop = steps.stop(here)
    at = len(cost) if stop is None else stop
    # A sample's totals miss those of everybody by about their standard errors.
    off_cost = WIDE * _root_of_squares(steps.row[:at], steps.dc[:at])
    early, late = cost > here.budget - off_cost, cost > here.budget + off_cost
    if limits.roi > 0.0:
        slack, paid = value - limits.roi * cost, steps.ratio < limits.roi
        off_slack = WIDE * _root_of_squares(steps.row[:at], steps.dv[:at] - limits.roi * steps.dc[:at])
        early, late = early | (paid & (slack < off_slack)), late | (paid & (slack < -off_slack))
    first = min(_first(early), at) - FEW
    last = max(_first(late), at + int(4 * CORE * share)) + FEW
    high = float(steps.ratio[first]) if first >= 0 else math.inf
    low = float(steps.ratio[last]) if last < len(cost) else 0.0
    return (low, high) if low < high else (math.nextafter(high, 0.0), high)


def _root_of_squares(row: Ints, amount: Floats) -> float:
    return float(np.sqrt(np.square(np.bincount(row, weights=amount)).sum())) if len(row) else 0.0


def _first(flags: NDArray[np.bool_]) -> int:
    """Where the first True is; their number where there is none."""
    return int(flags.argmax()) if flags.any() else len(flags)


def _narrowed(population: Population, limits: Limits, threads: int, low: float, high: float) -> tuple[float, float]:
    """Two prices with the answer and no more than MOST_STEPS steps between them; the same twice where it is known.

    Positive floats are ordered as their bits are, so bins of equal numbers of bits find any price in a few passes,
    however the ratios lie.
    """
    while True:
        survey = _Survey.of(population, low, high, threads)
        if _beyond(survey.top, limits, high):
            low, high = high, math.inf
            continue
        stop = survey.stop(limits)
        if stop is None:
            if low == 0.0:
                return 0.0, 0.0  # nothing stops the walk
            low, high = 0.0, low
            continue
        if survey.count[stop] <= MOST_STEPS:
            return survey.around(stop)
        low, high = survey.edge(stop), survey.edge(stop + 1)
        if math.nextafter(low, math.inf) == high:
            return high, high  # one ratio that very many share


@dataclass(frozen=True, slots=True, eq=False)
class _Survey:
    """How many steps lie in each bin of prices, and what they add.

    Attributes:
        top: totals at the upper price, without steps.
        low, shift: bits of the lower price, and of a bin's width.
        high: bits of the upper price.
        count, dc, dv: (bins,) of steps, the flattest bin first.
    """

    top: Steps
    low: int
    high: int
    shift: int
    count: Ints
    dc: Floats
    dv: Floats

    @classmethod
    def of(cls, population: Population, low: float, high: float, threads: int) -> Self:
        """Of the steps with low < Δv/Δc ≤ high, in one pass."""
        first, last = _bits(low), _bits(min(high, MOST))
        shift = max(0, (last - first).bit_length() - BINS)
        bins = ((last - first - 1) >> shift) + 1
        count, added = np.zeros(bins, dtype=np.int64), np.zeros((2, bins))
        totals = []
        for here, (ratio, dc, dv, _) in blocks_of_steps(population, low, high, threads):
            totals.append(here)
            bin_ = (ratio.view(np.int64) - (first + 1)) >> shift
            count += np.bincount(bin_, minlength=bins)
            added[0] += np.bincount(bin_, weights=dc, minlength=bins)
            added[1] += np.bincount(bin_, weights=dv, minlength=bins)
        top = Steps.of(totals, [NO_STEPS])
        return cls(top, first, last, shift, count, added[0], added[1])

    def edge(self, k: int) -> float:
        """The lower edge of bin k, which belongs to the bin below."""
        return float(np.int64(min(self.low + (k << self.shift), self.high)).view(np.float64))

    def stop(self, limits: Limits) -> int | None:
        """The bin in which a limit is first broken on the way down."""
        value = self.top.value + np.cumsum(self.dv[::-1])[::-1]
        cost = self.top.cost + np.cumsum(self.dc[::-1])[::-1]
        edges = np.minimum(self.low + (np.arange(len(cost)) << self.shift), self.high).view(np.float64)
        over = np.flatnonzero(replace(limits, refunds=self.top.refunds).broken(value, cost, edges))
        return int(over[-1]) if len(over) else None

    def around(self, stop: int) -> tuple[float, float]:
        """The edges of a bin, the lower one further down until enough steps follow."""
        below = np.cumsum(self.count[:stop][::-1])
        enough = _first(below >= 4 * CORE) + 1
        affordable = int(np.count_nonzero(self.count[stop] + below <= MOST_STEPS))
        return self.edge(stop - min(enough, affordable)), self.edge(stop + 1)


def _bits(price: float) -> int:
    return int(np.float64(price).view(np.int64))
