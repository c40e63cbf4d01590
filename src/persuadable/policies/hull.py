"""Each unit's efficient offers: the upper hull of value over cost, from the cheapest point to the most valuable."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from persuadable.policies.base import Flags, Floats

__all__ = ["SAME_PRICE", "Steps", "hull_steps"]

Codes = NDArray[np.intp]

#: Relative: prices this close, and net values this close of the |v| + λ|c| they are made of, differ by rounding only.
SAME_PRICE: Final = 1e-12


@dataclass(frozen=True, slots=True, eq=False)
class Steps:
    """The steps of n units up their hulls, m in all, each unit's in falling order of ratio.

    Attributes:
        base: (n,) where a unit stands at an infinite price: its cheapest action, of those the most valuable.
        unit: (m,) whose step it is.
        before: (m,) the action it leaves.
        after: (m,) the action it reaches.
        ratio: (m,) Δv/Δc > 0, value gained per cost added.
    """

    base: Codes
    unit: Codes
    before: Codes
    after: Codes
    ratio: Floats


def hull_steps(value: Floats, cost: Floats, allowed: Flags) -> Steps:
    """The steps of every unit's upper hull, at most A − 1 a unit.

    At a price λ, argmax_a v − λc (ties to the cheaper) is where a unit stands after all of its steps with a ratio above
    λ (Zemel 1984; Pisinger 1995). All units walk at once, one point a round: to the one with the steepest rise from
    where they are, of equally steep ones the costliest, so that a round skips what is dominated or lies on the line.

    Args:
        value: (n, A) incremental values.
        cost: (n, A) incremental costs.
        allowed: (n, A) actions a unit may be given, at least one each.
    """
    rows = np.arange(value.shape[0])
    dear = np.where(allowed, cost, math.inf)
    base: Codes = np.where(dear == dear.min(axis=1, keepdims=True), value, -math.inf).argmax(axis=1)
    here, last = base, np.full(rows.size, math.inf)
    found = [(rows[:0], rows[:0], rows[:0], last[:0])]
    while rows.size:
        rise, run = value[rows] - value[rows, here][:, None], cost[rows] - cost[rows, here][:, None]
        up = allowed[rows] & (rise > 0.0) & (run > 0.0)
        steep = np.divide(rise, run, out=np.full(rise.shape, -math.inf), where=up)
        best = steep.max(axis=1)
        there = np.where(steep >= best[:, None] * (1.0 - SAME_PRICE), run, -math.inf).argmax(axis=1)
        on = best > 0.0
        # Rounding must not make a step steeper than the one before it.
        last = np.minimum(best[on], last[on])
        found.append((rows[on], here[on], there[on], last))
        rows, here = rows[on], there[on]
    unit, before, after, ratio = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return Steps(base, unit, before, after, ratio)
