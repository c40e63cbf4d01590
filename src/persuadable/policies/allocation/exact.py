"""One budget, and a floor on the return: exact on the hull, in two passes over the units.

Relax the choice of one action a unit to fractions of actions. Then only the upper hull of a unit's (cost, value) points
matters, walked from its least-cost point by steps of falling Δv/Δc, and the best fractional allocation takes the
steepest steps of all units until the budget is spent: at most one unit is cut (Sinha & Zoltners 1979; Zemel 1984). The
price λ* is the ratio of the step that no longer fits. Sorting all steps is not needed (Pisinger 1995): a sample says
between which two prices λ* lies, one pass over all units adds up everything steeper and keeps only the steps between.

A floor on the return, Σv ≥ ρΣc, has a multiplier η and turns the objective into (1 + η)Σv − (λ + ηρ)Σc. That is the
same walk at the price (λ + ηρ)/(1 + η), and it stops where the budget or the floor does, whichever comes first.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from persuadable.policies.allocation.problem import Population, Problem, in_blocks
from persuadable.policies.allocation.search import CORE, find_price
from persuadable.policies.allocation.steps import NO_ROWS, Limits, blocks_of_steps, finite, steps_of

__all__ = ["Answer", "Totals", "answer", "assigned", "decide_at", "steps_of", "totals_of"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Codes = NDArray[np.int16]
Tied = tuple[Ints, Codes, Floats, Floats]  # row, to, Δc, Δv


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """The actions, and what proves them good.

    Attributes:
        action: (n,) codes.
        price: λ*.
        bound: the most value any allocation can have.
        binds: "budget", "roi" or None.
        marginal: rows whose action is not the decision at the price.
        fractional: the row that the best fractional allocation cuts, or None.
        limits: those asked for, and how exactly sums keep them.
    """

    action: Codes
    price: float
    bound: float
    binds: str | None
    marginal: Ints
    fractional: int | None
    limits: Limits


def answer(population: Population, limits: Limits, threads: int, *, to_fill: bool = True) -> Answer:
    """The best allocation under a budget and a floor on the return.

    Args:
        population: units.
        limits: the budget and the floor.
        threads: how many at a time.
        to_fill: whether what is left of the budget goes to further units.

    Raises:
        DataError: numbers that cannot be used.
        Infeasible: forced actions cost more than the budget.
    """
    from persuadable.policies.allocation import kernels

    found = find_price(population, limits, threads)
    price, limits = found.price, replace(limits, refunds=found.refunds)
    made = assigned(population, price, threads)
    bound, binds = _bound(made, limits, price)
    left, slack = limits.spendable() - made.cost, limits.slack(made.value, made.cost)
    ties = made.ties
    taken = np.zeros(len(ties.row), dtype=np.bool_)
    left, slack, cut = kernels.take(ties.dc, ties.dv, left, slack, limits.roi, taken)
    action = made.action
    touched = [ties.row[taken]]
    if to_fill:
        core = found.core if len(found.core) else ties.row[~taken][:CORE]
        touched.append(core)
    rows = np.unique(np.concatenate(touched))
    before = action[rows]
    action[ties.row[taken]] = ties.to[taken]
    if to_fill and len(core):
        part = population.take(core)
        v, c, _ = part.block(0, part.n)
        now = action[core]
        kernels.fill(v, c, part.efficiency_floor, now, left, slack, limits.roi)
        action[core] = now
    fractional = int(ties.row[cut]) if cut >= 0 else None
    return Answer(action, price, bound, binds, rows[action[rows] != before], fractional, limits)


@dataclass(frozen=True, slots=True, eq=False)
class _Ties:
    """Units that a dearer action serves equally well: (k,) rows, the action, what it adds."""

    row: Ints
    to: Codes
    dc: Floats
    dv: Floats


@dataclass(frozen=True, slots=True, eq=False)
class _Made:
    """The decisions at a price, their totals, and the ties."""

    action: Codes
    value: float
    cost: float
    ties: _Ties


def assigned(population: Population, price: float, threads: int) -> _Made:
    """Every unit's decision at a price."""
    from persuadable.policies.allocation import kernels

    action = np.empty(population.n, dtype=np.int16)
    values, costs = [], []
    ties: list[Tied] = [(NO_ROWS, NO_ROWS.astype(np.int16), np.empty(0), np.empty(0))]
    for start, part in population.parts():

        def one(first: int, last: int, part: Problem = part, start: int = start) -> tuple[float, float, Tied]:
            v, c, forced = part.block(first, last)
            m = last - first
            row, to, dc, dv = np.empty(m, dtype=np.int64), np.empty(m, dtype=np.int16), np.empty(m), np.empty(m)
            here = action[start + first : start + last]
            k, value, cost = kernels.assign(v, c, forced, part.efficiency_floor, price, here, row, to, dc, dv)
            return value, cost, (row[:k] + (start + first), to[:k].copy(), dc[:k].copy(), dv[:k].copy())

        for value, cost, tied in in_blocks(part, one, threads):
            values.append(value)
            costs.append(cost)
            ties.append(tied)
    row, to, dc, dv = (np.concatenate(columns) for columns in zip(*ties, strict=True))
    return _Made(action, finite(values), finite(costs), _Ties(row, to, dc, dv))


def _bound(made: _Made, limits: Limits, price: float) -> tuple[float, str | None]:
    """The dual's value at a price, V + λ(B − C) where the budget binds, and what binds."""
    if price == 0.0:
        return made.value, None
    room, binds = limits.budget - made.cost, "budget"
    if price < limits.roi:
        # η/(1 + η) = λ/ρ at λ alone, so that (1 + η)(V − λC) = V + λ(V − ρC)/(ρ − λ).
        paid = (made.value - limits.roi * made.cost) / (limits.roi - price)
        paid = min(paid, math.fsum(made.ties.dc))  # no more than the ties can use; the ratio above may be 0/0
        if paid < room:
            room, binds = paid, "roi"
    return made.value + price * room, binds


@dataclass(frozen=True, slots=True, eq=False)
class Totals:
    """What an allocation comes to.

    Attributes:
        value, cost: as they were passed.
        decided_value, decided_cost: as the decision saw them.
        counts: (A,) units per action.
        pruned: reason → pairs.
    """

    value: float
    cost: float
    decided_value: float
    decided_cost: float
    counts: Ints
    pruned: dict[str, int]


def totals_of(population: Population, action: Codes, threads: int) -> Totals:
    """Add up an allocation from its actions alone, in one pass; also say why pairs were out of the question."""
    from persuadable.policies.allocation import kernels

    sums: list[list[float]] = [[], [], [], []]
    counts = np.zeros(population.n_actions, dtype=np.int64)
    pruned = np.zeros(4, dtype=np.int64)
    for start, part in population.parts():

        def one(first: int, last: int, part: Problem = part, start: int = start) -> tuple[Any, ...]:
            v, c, _ = part.block(first, last)
            here = action[start + first : start + last]
            decided = kernels.totals(v, c, here)
            plain = kernels.totals(*part.plain(first, last), here) if part.averse else decided
            nothing, little, off = kernels.prune(v, c, part.efficiency_floor)
            allowed = part.allowed(first, last)
            barred = 0 if allowed is None else allowed.size - int(np.count_nonzero(allowed))
            return (
                (*plain, *decided),
                np.bincount(here, minlength=part.n_actions),
                (barred, nothing - barred, little, off),
            )

        for amounts, units, reasons in in_blocks(part, one, threads):
            for total, amount in zip(sums, amounts, strict=True):
                total.append(amount)
            counts += units
            pruned += reasons
    why = ("not eligible", "brings nothing", "below the efficiency floor", "dominated")
    value, cost, decided_value, decided_cost = (finite(each) for each in sums)
    return Totals(value, cost, decided_value, decided_cost, counts, dict(zip(why, pruned.tolist(), strict=True)))


def decide_at(problem: Problem, price: float) -> Codes:
    """(n,) each unit's decision at a price.

    Raises:
        DataError: a number that is not finite, or a column 0 that is not zero.
    """
    for _ in blocks_of_steps(problem, math.inf, math.inf, 1):
        pass  # looks at every number
    return assigned(problem, price, 1).action
