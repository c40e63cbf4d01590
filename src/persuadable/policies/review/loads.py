"""From which priority on a decision is queued, so that people get their load at whatever threshold is asked for."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, NamedTuple

import numpy as np

from persuadable.policies.base import Floats
from persuadable.policies.review.arguments import known, stored
from persuadable.policies.threshold import ScoreDistribution, Threshold

__all__ = ["MOST_RISKS", "LevelRisks", "Loads", "Rule", "levels"]

MOST_RISKS: Final = 20_000
LEVELS: Final = 33
SHARES: Final = np.linspace(0.0, 1.0, 65) ** 2  # of the decisions, at which a level's priorities are kept
MOST_LEVELS: Final = 1_024


class Rule(NamedTuple):
    """Who is queued at a threshold.

    Attributes:
        cut: from which priority on; ``tie_probability`` for those exactly at it.
        harm_chance: chance of harm above which a unit to be treated is marked.
    """

    cut: Threshold
    harm_chance: float


class LevelRisks(NamedTuple):
    """What held-out units make of one threshold.

    Attributes:
        threshold: net effect above which units are treated.
        forced: share that is queued whatever the priority.
        harm_chance: as in :class:`Rule`.
        priority: distribution of the others' priorities.
    """

    threshold: float
    forced: float
    harm_chance: float
    priority: ScoreDistribution


@dataclass(frozen=True, slots=True, eq=False)
class Loads:
    """Priorities of held-out units at the policy's own threshold, and in short at others.

    Another budget moves the threshold, and with it who is close to it. Cut by the priority of one threshold, the queue
    of another would be empty or overflow. So the cut is taken from the priorities of held-out units at that threshold:
    exactly at the policy's own, and between the ``LEVELS`` others by linear interpolation.

    Attributes:
        own: at the policy's own threshold.
        at: (k,) thresholds, rising.
        forced: (k,) share that is queued there whatever the priority.
        harm_chance: (k,) as in :class:`Rule`.
        table: (k, 65) priorities that a share of ``SHARES`` of the others lies above.
    """

    own: LevelRisks
    at: Floats
    forced: Floats
    harm_chance: Floats
    table: Floats

    @classmethod
    def of(cls, own: LevelRisks, others: Sequence[LevelRisks]) -> Loads:
        """Levels in rising order of their thresholds; ``own`` takes the place of the one it ties with."""
        told = sorted([own, *(one for one in others if one.threshold != own.threshold)], key=lambda one: one.threshold)
        table = [[_above(one.priority, share) for share in SHARES.tolist()] for one in told]
        return cls(
            own,
            np.array([one.threshold for one in told]),
            np.array([one.forced for one in told]),
            np.array([one.harm_chance for one in told]),
            np.array(table),
        )

    def rule(self, load: float, threshold: float) -> Rule:
        """Who is queued, for people to get ``load`` of the decisions at a threshold."""
        return _rule(self, load, threshold)

    def _rule(self, load: float, threshold: float) -> Rule:
        if threshold == self.own.threshold:
            return Rule(self.own.priority.cut(_left(load, self.own.forced), 0.0), self.own.harm_chance)
        left = _left(load, float(np.interp(threshold, self.at, self.forced)))
        place = int(np.searchsorted(self.at, threshold))
        near = [min(max(k, 0), self.at.size - 1) for k in (place - 1, place)]
        cuts = [float(np.interp(left, SHARES, self.table[k])) for k in near]
        gap = self.at[near[1]] - self.at[near[0]]
        part = float((threshold - self.at[near[0]]) / gap) if gap > 0 else 0.0
        cut = math.inf if left == 0.0 else (1.0 - part) * cuts[0] + part * cuts[1]
        harm_chance = float(np.interp(threshold, self.at, self.harm_chance))
        return Rule(Threshold(left, cut, 0.0, left, "budget"), harm_chance)

    def state(self) -> tuple[dict[str, Any], dict[str, Floats]]:
        """(numbers, arrays), the latter all one-dimensional."""
        own = self.own
        told = {"always_share": own.forced, "harm_chance": own.harm_chance, "n": own.priority.n}
        arrays = {"risk": own.priority.values, "mass": own.priority.mass, "level": self.at, "forced": self.forced}
        return told, arrays | {"harmed": self.harm_chance, "risks": self.table.ravel()}

    @classmethod
    def read(cls, threshold: float, told: Mapping[str, Any], arrays: Mapping[str, Any]) -> Loads:
        """Back from :meth:`state`.

        Raises:
            ValueError, KeyError, TypeError: parts that are missing, out of range, or do not fit together.
        """
        names = ("risk", "level", "forced", "harmed", "risks")
        risk, at, forced, harm_chance, flat = (known(name, arrays[name]) for name in names)
        if not (risk.size <= MOST_RISKS and (risk >= 0).all()):
            raise ValueError("the distribution of priorities does not fit")
        shares = np.concatenate([forced, harm_chance])
        if not (1 <= at.size == forced.size == harm_chance.size <= MOST_LEVELS and flat.size == at.size * SHARES.size):
            raise ValueError("the levels of the threshold do not fit together")
        table = flat.reshape(at.size, SHARES.size)
        if not ((np.diff(at) > 0).all() and (flat >= 0).all() and (np.diff(table) <= 0).all()):
            raise ValueError("thresholds do not rise, or priorities do not fall")
        if not ((shares >= 0).all() and (shares <= 1).all()):
            raise ValueError("a share is out of range")
        always, worst = (stored(told[name], 0.0) for name in ("always_share", "harm_chance"))
        if max(always, worst) > 1:
            raise ValueError("a share is out of range")
        own = LevelRisks(threshold, always, worst, ScoreDistribution.read(arrays["risk"], arrays["mass"], told["n"]))
        return cls(own, at, forced, harm_chance, table)


@lru_cache(maxsize=4_096)
def _rule(loads: Loads, load: float, threshold: float) -> Rule:
    return loads._rule(load, threshold)


def _left(load: float, forced: float) -> float:
    """What the load leaves for the priority, as a share of the units that are not queued anyway."""
    return min(max((load - forced) / (1.0 - forced), 0.0), 1.0) if forced < 1.0 else 0.0


def _above(priority: ScoreDistribution, share: float) -> float:
    """The priority that a share of the units lies above."""
    if share == 0.0:
        return float(priority.values[-1])
    return max(priority.cut(share, 0.0).threshold, 0.0)


def levels(net: Floats, weight: Floats | None) -> Floats:
    """(≤ 33,) thresholds that treat all, nearly all, … hardly any of the units; closer together where few are."""
    spread = ScoreDistribution.of(net, weight)
    told = [spread.cut(float(share)).threshold for share in np.linspace(0.0, 1.0, LEVELS)[1:-1] ** 2]
    return np.unique([spread.values[0], *told, spread.values[-1]])
