"""What a price makes of units: which action each takes, and which actions it may take at all."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from persuadable.policies.base import Flags, Floats
from persuadable.policies.hull import SAME_PRICE
from persuadable.policies.price_path import Price

__all__ = ["Chosen", "allowed_pairs", "choose", "placed"]


class Chosen(NamedTuple):
    """What a price makes of n units and A actions.

    Attributes:
        low: (n,) the cheapest of the actions that tie at the largest net value, of equal costs the most valuable.
        high: (n,) the costliest of them; ``low`` where nothing ties.
        net: (n, A) v − λc of the allowed pairs, −inf of the others; 0 for doing nothing.
    """

    low: NDArray[np.intp]
    high: NDArray[np.intp]
    net: Floats


def allowed_pairs(
    value: Floats, cost: Floats, eligible: Flags | None = None, efficiency_floor: float | None = None
) -> Flags:
    """(n, A) pairs that may be given: eligible, v > 0 and v ≥ floor·c; doing nothing always may."""
    allowed = value > 0.0
    if eligible is not None:
        allowed &= eligible
    if efficiency_floor is not None:
        allowed &= value >= efficiency_floor * cost
    allowed[:, 0] = True
    return np.asarray(allowed, dtype=np.bool_)


def choose(
    value: Floats,
    cost: Floats,
    rule: Price,
    *,
    eligible: Flags | None = None,
    efficiency_floor: float | None = None,
) -> Chosen:
    """The actions with the largest v − λc: one argmax a unit, which is all that serving has to do.

    Actions tie where their nets differ by no more than 1e−12 of the |v| + λ|c| of the two, which is rounding. At an
    infinite price only what costs nothing is given, and without evidence nothing is.

    Args:
        value: (n, A) incremental values, less the aversion where there is one; column 0 zeros.
        cost: (n, A) incremental costs, column 0 zeros.
        rule: the price.
        eligible: (n, A) actions each unit may be given; None for all.
        efficiency_floor: least value per unit of cost.
    """
    allowed = allowed_pairs(value, cost, eligible, efficiency_floor)
    if rule.binds == "evidence":
        allowed[:, 1:] = False
    if rule.price == math.inf:
        paid, slack = np.where(cost == 0.0, 0.0, np.copysign(math.inf, cost)), np.zeros(value.shape)
    else:
        paid = rule.price * cost
        slack = SAME_PRICE * (np.abs(value) + np.abs(paid))
    net = np.where(allowed, value - paid, -math.inf)
    tied = net + slack >= (net - slack).max(axis=1, keepdims=True)
    dear = np.where(tied, cost, math.inf)
    low = np.where(dear == dear.min(axis=1, keepdims=True), value, -math.inf).argmax(axis=1)
    high = np.where(tied, cost, -math.inf).argmax(axis=1)
    return Chosen(low, high, net)


def placed(chosen: Chosen, rule: Price) -> Floats:
    """(n, A) probabilities: 1 for the action with the largest net value; where actions tie, two of them share."""
    low, high, net = chosen
    rows, p = np.arange(low.shape[0]), np.zeros(net.shape)
    p[rows, low] = np.where(low == high, 1.0, 1.0 - rule.tie_probability)
    p[rows, high] += np.where(low == high, 0.0, rule.tie_probability)
    return p
