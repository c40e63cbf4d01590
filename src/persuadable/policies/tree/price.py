"""A budget inside a tree: the price of treating at which the best tree spends it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from persuadable.policies.base import Floats
from persuadable.policies.tree.rules import Node

__all__ = ["Grown", "Priced", "spend", "within_budget"]

MOST_PRICES = 30
ROUNDING = 1e-9  # shares of a million units add up to 1 within this


@dataclass(frozen=True, slots=True, eq=False)
class Grown:
    """A tree and what each action would bring and use in each leaf, per head of all rows.

    Attributes:
        tree: its leaves numbered.
        worth: (L, A) worth of each action.
        charge: (L, A) share of all units treated by each action, column 0 zero.
        coarse: features of which only some questions were tried.
    """

    tree: Node
    worth: Floats
    charge: Floats
    coarse: tuple[int, ...]

    def at(self, price: float) -> tuple[float, float]:
        """Worth and share where each leaf takes what is best at this price; ties do nothing."""
        best = (self.worth - price * self.charge).argmax(axis=1)[:, None]
        return tuple(float(np.take_along_axis(t, best, axis=1).sum()) for t in (self.worth, self.charge))  # type: ignore[return-value]


@dataclass(frozen=True, slots=True, eq=False)
class Priced:
    """A tree within the budget.

    Attributes:
        grown: the tree.
        probabilities: (L, A) of the actions in each leaf; lots are drawn in one leaf at most.
        price: worth of treating one more, per unit treated; 0 where the budget does not bind.
        worth: per head, on the rows the tree was grown on.
        share: share of units treated there.
        bound: no tree of those searched, lots included, is worth more within the budget; where the search was exact.
    """

    grown: Grown
    probabilities: Floats
    price: float
    worth: float
    share: float
    bound: float


def within_budget(grow: Callable[[float], Grown], share: float) -> Priced:
    """The best tree whose treated share is at most ``share``, by Lagrange's method.

    L(λ) = max over trees of worth − λ·share is piecewise linear and convex, and L(λ) + λ·``share`` is no less than the
    worth of any tree within the budget (weak duality). Its minimum is found by going to the price at which the best
    tree above the budget and the best one below it are worth the same, until no tree is better there than those two.
    Every tree met on the way is then made to spend the budget exactly, and the best kept.

    Args:
        grow: price → the best tree where every unit treated costs this much.
        share: of units the budget pays for.
    """
    first = grow(0.0)
    over = first.at(0.0)
    prices, met, bound = [0.0], [first], over[0]
    if over[1] > share + ROUNDING:
        under = (float(first.worth[:, 0].sum()), 0.0)
        scale = float(np.abs(first.worth).sum())
        for _ in range(MOST_PRICES):
            price = (over[0] - under[0]) / (over[1] - under[1])
            grown = grow(price)
            found = grown.at(price)
            reached = found[0] - price * found[1]
            prices.append(price)
            met.append(grown)
            bound = min(bound, reached + price * share)
            if reached <= over[0] - price * over[1] + 1e-12 * scale:
                break
            over, under = (found, under) if found[1] > share else (over, found)
    spent = [spend(grown.worth, grown.charge, share) for grown in met]
    worth = [float((p * grown.worth).sum()) for p, grown in zip(spent, met, strict=True)]
    best = int(np.argmax(worth))
    treated = float((spent[best] * met[best].charge).sum())
    return Priced(met[best], spent[best], prices[-1], worth[best], treated, max(bound, worth[best]))


def spend(worth: Floats, charge: Floats, share: float) -> Floats:
    """(L, A) probabilities of the actions that are worth most within the budget, lots drawn in one leaf at most.

    A linear program with one constraint: from doing nothing, each leaf climbs the upper hull of (charge, worth), and
    the steps are taken from the steepest on until the budget is spent (Zemel 1980).

    Args:
        worth: (L, A) worth of each action in each leaf.
        charge: (L, A) what it takes of the budget.
        share: the budget.
    """
    steps = sorted(
        (
            (slope, leaf, start, end)
            for leaf in range(len(worth))
            for slope, start, end in _hull(worth[leaf], charge[leaf])
        ),
        key=lambda step: (-step[0], step[1], step[2]),
    )
    p = np.zeros(worth.shape)
    p[:, 0] = 1.0
    left = share
    for _, leaf, start, end in steps:
        cost = float(charge[leaf, end] - charge[leaf, start])
        part = 1.0 if cost <= left + ROUNDING else left / cost
        if part > 0.0:
            p[leaf, start], p[leaf, end] = 1.0 - part, part
        if part < 1.0:
            break
        left = max(left - cost, 0.0)
    return p


def _hull(worth: Floats, charge: Floats) -> list[tuple[float, int, int]]:
    """(slope, from, to) of the climbing steps of the upper hull of a leaf's actions, from doing nothing."""
    at = 0
    steps: list[tuple[float, int, int]] = []
    while True:
        rise, run = worth - worth[at], charge - charge[at]
        dearer = (rise > 0.0) & (run > 0.0)
        if not dearer.any():
            return steps
        slope = np.where(dearer, rise / np.where(dearer, run, 1.0), -np.inf)
        steepest = np.flatnonzero(slope >= slope.max())
        to = int(steepest[charge[steepest].argmax()])
        steps.append((float(slope[to]), at, to))
        at = to
