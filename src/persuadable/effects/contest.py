"""Which of several sets of effects would have spent a budget best? Told by held-out rows, with its uncertainty."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from persuadable.effects.pooling import stderr_of_sum

__all__ = ["Candidate", "Rows", "choose"]

Vector = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A set of effects, what treating by it brings, and whether that beat the simpler ones.

    Attributes:
        name: what it is called.
        gain: outcome per head over treating nobody, held out, when the share with its largest effects is treated.
        against: the best of the simpler ones, which it had to beat; None for the simplest.
        difference: its gain less that one's.
        interval: 1 − alpha interval of the difference.
        better: whether the interval lies above 0.
    """

    name: str
    gain: float
    against: str | None = None
    difference: float = 0.0
    interval: tuple[float, float] = (0.0, 0.0)
    better: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """The rows on which sets of effects are compared.

    Attributes:
        scores: (n, A) doubly robust scores Γ_a of the effects, column 0 is zero.
        possible: (n, A) which actions had a chance.
        folds: (n,) fold that a row's effects were held out with; ranks are taken within folds.
        weight: (n,) row weights of mean 1.
        clusters: (n,) codes of units that repeat, or None.
    """

    scores: Vector
    possible: NDArray[np.bool_]
    folds: NDArray[np.int16]
    weight: Vector
    clusters: NDArray[np.intp] | None


@dataclass(frozen=True, slots=True, eq=False)
class _Spent:
    """Who is treated by a set of effects, and what that brings.

    Attributes:
        treated: (n,) probability of being treated.
        score: (n,) Γ of the treatment the unit would get.
        slack: (n,) ``treated`` less the share where the share is used up; 0 where nobody else has a positive effect.
    """

    treated: Vector
    score: Vector
    slack: Vector


def choose(rows: Rows, effects: Mapping[str, Vector], share: float, alpha: float) -> tuple[str, tuple[Candidate, ...]]:
    """The name of the best set of effects, and what was found of each.

    From the simplest to the most elaborate: each replaces the best so far only if the 1 − alpha interval of the paired
    difference lies above 0. So one that is no better is taken with a probability of about alpha / 2 at each step; a
    little more where the effects come from cross-fitted models, whose folds are not quite independent.

    Args:
        rows: held-out rows.
        effects: name → (n, A) effects that did not see the rows, the simplest first.
        share: of the rows treated: those with the largest positive effects.
        alpha: probability that an interval is meant to miss.
    """
    from scipy.special import ndtri

    z = float(-ndtri(alpha / 2))
    best, found = "", []
    spent: dict[str, _Spent] = {}
    for name, effect in effects.items():
        spent[name] = _spend(rows, effect, share)
        gain = float(np.mean(rows.weight * spent[name].treated * spent[name].score))
        if not best:
            best = name
            found.append(Candidate(name, gain))
            continue
        difference, stderr = _difference(rows, spent[name], spent[best])
        lower, upper = difference - z * stderr, difference + z * stderr
        found.append(Candidate(name, gain, best, difference, (lower, upper), lower > 0))
        if lower > 0:
            best = name
    return best, tuple(found)


def _spend(rows: Rows, effect: Vector, share: float) -> _Spent:
    """Treat the share of every fold with the largest positive effects, by lot among equals."""
    allowed = np.where(rows.possible[:, 1:], effect[:, 1:], -np.inf)
    best = allowed.argmax(axis=1)
    largest = np.take_along_axis(allowed, best[:, None], axis=1)[:, 0]
    treated, used_up = np.zeros(largest.size), np.zeros(largest.size, dtype=np.bool_)
    for k in np.unique(rows.folds):
        here = np.flatnonzero(rows.folds == k)
        values, place = np.unique(largest[here], return_inverse=True)
        mass = np.bincount(place, weights=rows.weight[here])
        budget = share * mass.sum()
        above = mass[::-1].cumsum()[::-1] - mass
        chance = np.where(values > 0, np.clip((budget - above) / mass, 0.0, 1.0), 0.0)
        treated[here] = chance[place]
        used_up[here] = chance @ mass > budget * (1 - 1e-9)
    score = np.take_along_axis(rows.scores, best[:, None] + 1, axis=1)[:, 0]
    return _Spent(treated, score, np.where(used_up, treated - share, 0.0))


def _difference(rows: Rows, one: _Spent, other: _Spent) -> tuple[float, float]:
    """Paired difference of two gains and its standard error.

    The thresholds were drawn from the same rows, which moves each gain by −γ·(π − share), γ the effect of the units at
    the threshold: it is read off the units that one of the two treats and the other does not.
    """
    gain = one.treated * one.score - other.treated * other.score
    difference = float(np.mean(rows.weight * gain))
    swapped = rows.weight * np.abs(one.treated - other.treated)
    if not swapped.any():
        marginal = 0.0
    else:
        marginal = float(swapped @ np.where(one.treated > other.treated, one.score, other.score) / swapped.sum())
    psi = rows.weight * (gain - difference - marginal * (one.slack - other.slack))
    return difference, stderr_of_sum(psi, rows.clusters) / psi.size
