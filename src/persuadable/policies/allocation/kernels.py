"""One action for each unit at a price, and the steps between its actions, as machine code; imported when first wanted.

Arrays the kernels share (:class:`persuadable.policies.allocation.problem.Problem` makes them, block by block):

``v, c``    (m, A) float64 value and cost over doing nothing, column 0 zero; pairs that may not be given have v = 0.
``forced``  (m,) int16, the action a unit must get, −1 where it is free; empty where none is forced.
``floor``   pairs with v < floor · c are never given.

A pair is *worth giving* where v > 0 and v ≥ floor · c. A unit's decision at price λ is the pair of largest v − λc, and
doing nothing where that is not positive; among equals the cheapest, so that a decision never spends on a tie, and among
equally cheap ones the most valuable.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit, types
from numpy.typing import NDArray

from persuadable.policies.hull import SAME_PRICE

__all__ = ["assign", "collect", "fill", "inlined", "kernel", "prune", "take", "totals"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Codes = NDArray[np.int16]
Flags = NDArray[np.bool_]

MOST = np.finfo(np.float64).max

TABLE = types.Array(types.float64, 2, "C", readonly=True)
FORCED = types.Array(types.int16, 1, "C", readonly=True)
COLUMN = types.float64[::1]


def results(*kinds: Any) -> Any:
    """The type of a kernel's results."""
    return types.Tuple(kinds)  # type: ignore[no-untyped-call]


inlined = njit(error_model="numpy")


def kernel(signature: Any) -> Callable[[Any], Any]:
    """Compile at once, or read the machine code from numba's cache; without a folder to cache in, compile at once."""

    def decorate(function: Any) -> Any:
        try:
            return njit(signature, nogil=True, error_model="numpy", cache=True)(function)
        except RuntimeError:  # numba found no folder it may write to
            return njit(signature, nogil=True, error_model="numpy")(function)

    return decorate


@inlined
def worth(value: float, cost: float, floor: float) -> bool:
    """Whether a pair may be given at all."""
    return (value > 0.0) & (value >= floor * cost)


@inlined
def start(v: Floats, c: Floats, i: int, floor: float) -> int:
    """The least-cost action of row i, of the largest value among equals: the decision at an infinite price."""
    best, value, cost = 0, 0.0, 0.0
    for a in range(1, v.shape[1]):
        cheaper = (c[i, a] < cost) | ((c[i, a] == cost) & (v[i, a] > value))
        better = cheaper & worth(v[i, a], c[i, a], floor)
        best, value, cost = (a, v[i, a], c[i, a]) if better else (best, value, cost)
    return best


@inlined
def bar(value: float, cost: float, price: float) -> float:
    """The least that the net value of this value and cost may be, but for rounding."""
    net: float = value - price * cost - SAME_PRICE * (abs(value) + price * abs(cost))
    return net


@inlined
def reach(value: float, cost: float, price: float) -> float:
    """The most that it may be: a dearer pair that reaches the bar of a cheaper one is as good."""
    net: float = value - price * cost + SAME_PRICE * (abs(value) + price * abs(cost))
    return net


@inlined
def decision(v: Floats, c: Floats, i: int, floor: float, price: float) -> int:
    """The action of row i at a price.

    Comparisons are combined, not branched on: which way they go is anybody's guess.
    """
    if price == np.inf:
        return start(v, c, i, floor)
    best, top, value, cost = 0, 0.0, 0.0, 0.0
    for a in range(1, v.shape[1]):
        net = v[i, a] - price * c[i, a]
        better = (net > top) & worth(v[i, a], c[i, a], floor)
        best, top, value, cost = (a, net, v[i, a], c[i, a]) if better else (best, top, value, cost)
    equal, cheapest = bar(value, cost, price), best
    tied = (cost > 0.0) & (equal <= 0.0)
    for a in range(1, v.shape[1]):
        tied |= (c[i, a] < cost) & (v[i, a] - price * c[i, a] >= equal) & worth(v[i, a], c[i, a], floor)
    if tied:
        for a in range(v.shape[1]):
            as_good = (a == 0 or worth(v[i, a], c[i, a], floor)) and v[i, a] - price * c[i, a] >= equal
            dearer, more = c[i, a] - c[i, cheapest], v[i, a] > v[i, cheapest]
            if as_good and (dearer < 0.0 or (dearer == 0.0 and more)):
                cheapest = a
    return cheapest


@inlined
def next_step(v: Floats, c: Floats, i: int, a: int, floor: float, low: float) -> tuple[int, float]:
    """The next corner of row i's hull after action a and its Δv/Δc, where that exceeds ``low``; else (−1, low).

    Of points on one line the furthest, so corners in between are no steps of their own.
    """
    step, steepest, cost = -1, low, np.inf
    for b in range(1, v.shape[1]):
        dc, dv = c[i, b] - c[i, a], v[i, b] - v[i, a]
        ratio = min(dv / dc, MOST)
        steeper = (ratio > steepest) | ((ratio == steepest) & (c[i, b] > cost))
        better = (dc > 0.0) & (dv > 0.0) & steeper & worth(v[i, b], c[i, b], floor)
        step, steepest, cost = (b, ratio, c[i, b]) if better else (step, steepest, cost)
    return step, steepest


@inlined
def sound(v: Floats, c: Floats, i: int) -> bool:
    """Whether all numbers of row i are finite, and those of doing nothing zero."""
    fine: bool = (v[i, 0] == 0.0) & (c[i, 0] == 0.0)
    for a in range(1, v.shape[1]):
        fine &= abs(v[i, a]) <= MOST and abs(c[i, a]) <= MOST
    return fine


@kernel(
    results(types.int64, types.float64, types.float64, types.float64, types.boolean)(
        TABLE, TABLE, FORCED, types.float64, types.float64, types.float64, COLUMN, COLUMN, COLUMN, types.int64[::1]
    )
)
def collect(
    v: Floats,
    c: Floats,
    forced: Codes,
    floor: float,
    low: float,
    high: float,
    ratio: Floats,
    dc: Floats,
    dv: Floats,
    row: Ints,
) -> tuple[int, float, float, float, bool]:
    """Totals at price ``high``, and every hull step with low < Δv/Δc ≤ high.

    Args:
        ratio, dc, dv, row: (m · (A − 1),) written: the steps, a row's own in the order they are taken.

    Returns:
        Number of steps; value, cost, and the sum of −c of costs below zero, at price ``high``; and whether every number
        was finite and column 0 zero.
    """
    count, value, cost, refunds, fine = 0, 0.0, 0.0, 0.0, True
    for i in range(v.shape[0]):
        fine &= sound(v, c, i)
        if forced.size and forced[i] >= 0:
            value += v[i, forced[i]]
            cost += c[i, forced[i]]
            refunds += max(-c[i, forced[i]], 0.0)
            continue
        a = decision(v, c, i, floor, high)
        value += v[i, a]
        cost += c[i, a]
        refunds += max(-c[i, a], 0.0)
        more = False
        for b in range(1, v.shape[1]):
            more |= (c[i, b] > c[i, a]) & (v[i, b] - v[i, a] > low * (c[i, b] - c[i, a]))
        last = high
        while more:
            b, steepness = next_step(v, c, i, a, floor, low)
            if b < 0:
                break
            last = min(last, steepness)  # rounding must not let a later step come first
            ratio[count], row[count] = last, i
            dc[count], dv[count] = c[i, b] - c[i, a], v[i, b] - v[i, a]
            count += 1
            a = b
    return count, value, cost, refunds, fine


@kernel(
    results(types.int64, types.float64, types.float64)(
        TABLE,
        TABLE,
        FORCED,
        types.float64,
        types.float64,
        types.int16[::1],
        types.int64[::1],
        types.int16[::1],
        COLUMN,
        COLUMN,
    )
)
def assign(
    v: Floats,
    c: Floats,
    forced: Codes,
    floor: float,
    price: float,
    action: Codes,
    row: Ints,
    to: Codes,
    dc: Floats,
    dv: Floats,
) -> tuple[int, float, float]:
    """Write each unit's decision at a price, and the ties: units that a dearer action serves equally well.

    Args:
        action: (m,) written.
        row, to, dc, dv: (m,) written: the ties, each with its dearest equal action and what that adds.

    Returns:
        Number of ties; value and cost of the decisions.
    """
    count, value, cost = 0, 0.0, 0.0
    for i in range(v.shape[0]):
        if forced.size and forced[i] >= 0:
            a = int(forced[i])
        else:
            a = decision(v, c, i, floor, price)
            equal = bar(v[i, a], c[i, a], price)
            dear = a
            for b in range(1, v.shape[1]):
                if c[i, b] > c[i, dear] and reach(v[i, b], c[i, b], price) >= equal and worth(v[i, b], c[i, b], floor):
                    dear = b
            if price > 0.0 and v[i, dear] > v[i, a]:
                row[count], to[count] = i, dear
                dc[count], dv[count] = c[i, dear] - c[i, a], v[i, dear] - v[i, a]
                count += 1
        action[i] = a
        value += v[i, a]
        cost += c[i, a]
    return count, value, cost


@kernel(results(*3 * [types.int64])(TABLE, TABLE, types.float64))
def prune(v: Floats, c: Floats, floor: float) -> tuple[int, int, int]:
    """Pairs, without those of doing nothing, that bring nothing; that bring too little; and that lie off the hull."""
    nothing, little, off = 0, 0, 0
    for i in range(v.shape[0]):
        some, left = 0, 0
        for a in range(1, v.shape[1]):
            some += v[i, a] > 0.0
            left += worth(v[i, a], c[i, a], floor)
        nothing += v.shape[1] - 1 - some
        little += some - left
        a = start(v, c, i, floor)
        while a >= 0 and left:
            left -= a > 0
            a, _ = next_step(v, c, i, a, floor, 0.0)
        off += left
    return nothing, little, off


@kernel(results(*2 * [types.float64])(TABLE, TABLE, types.Array(types.int16, 1, "C", readonly=True)))
def totals(v: Floats, c: Floats, action: Codes) -> tuple[float, float]:
    """Value and cost of the actions given."""
    value, cost = 0.0, 0.0
    for i in range(v.shape[0]):
        value += v[i, action[i]]
        cost += c[i, action[i]]
    return value, cost


@kernel(
    results(types.float64, types.float64, types.int64)(
        COLUMN, COLUMN, types.float64, types.float64, types.float64, types.boolean[::1]
    )
)
def take(dc: Floats, dv: Floats, left: float, slack: float, roi: float, taken: Flags) -> tuple[float, float, int]:
    """Take the steps that fit, one after another.

    Args:
        dc, dv: (k,) what the steps add.
        left: what may still be spent.
        slack: Σv − ρΣc so far, infinite where there is no floor on it.
        roi: ρ.
        taken: (k,) written.

    Returns:
        ``left`` and ``slack`` afterwards, and the first step that did not fit, −1 where all did.
    """
    first, paid, lost = -1, 0.0, 0.0
    for k in range(dc.size):
        # What adding to a long sum loses is carried along: a budget for all of very many equal offers pays for all.
        added = dc[k] - lost
        total, after = paid + added, slack + dv[k] - roi * dc[k]
        taken[k] = total <= left and after >= min(slack, 0.0)
        if taken[k]:
            lost = (total - paid) - added
            paid, slack = total, after
        elif first < 0:
            first = k
    return left - paid, slack, first


@kernel(
    results(types.float64, types.float64)(
        TABLE, TABLE, types.float64, types.int16[::1], types.float64, types.float64, types.float64
    )
)
def fill(
    v: Floats, c: Floats, floor: float, action: Codes, left: float, slack: float, roi: float
) -> tuple[float, float]:
    """Change actions of a few units as long as a change that adds value fits, the steepest first.

    Arguments and results are those of :func:`take`; ``action`` (m,) is read and written.
    """
    while True:
        row, to, steepest = -1, 0, 0.0
        for i in range(v.shape[0]):
            a = action[i]
            for b in range(1, v.shape[1]):
                dc, dv = c[i, b] - c[i, a], v[i, b] - v[i, a]
                fits = dc <= left and slack + dv - roi * dc >= min(slack, 0.0)
                if dv > 0.0 and fits and worth(v[i, b], c[i, b], floor):
                    ratio = dv / dc if dc > 0.0 else np.inf
                    if ratio > steepest:
                        row, to, steepest = i, b, ratio
        if row < 0:
            return left, slack
        a = action[row]
        left -= c[row, to] - c[row, a]
        slack += v[row, to] - v[row, a] - roi * (c[row, to] - c[row, a])
        action[row] = to
