"""Where to experiment before anything is known: more where a prior score is high."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from scipy.special import expit

from persuadable.errors import NotFittedError, ParameterError
from persuadable.policies.base import Flags, Floats
from persuadable.policies.explore.explorer import Chances, Explorer
from persuadable.policies.explore.fill import LEAST
from persuadable.policies.rank import RankPolicy
from persuadable.policies.threshold import ScoreDistribution

if TYPE_CHECKING:
    from persuadable.fingerprint import Fingerprint

__all__ = ["WarmStart", "tilted"]


class WarmStart(Explorer):
    """A first experiment that samples promising users more often: P(treat) = 1/(1 + e^(λ − ln(odds)·(U − ½))).

    U is the share of the users whom a prior score ranks below, ties counting half, so only the order of the scores
    matters; λ makes the share treated exact. A treated unit gets one of its eligible treatments, each as likely.

    Such a log must be weighted: the treated are not like the untreated, and means of the arms mistake the difference
    between the people for what the treatment did. Weights (IPS) or doubly robust scores undo it, because the
    probabilities are known.

    Args:
        scorer: a fitted model with ``predict(features) -> (n,)``, or a function features -> (n,): a response model, a
            rule, what marketing believes.
        share: share of users treated.
        odds: how many times the odds of treatment at the top of the ranking exceed those at its bottom; 1 is a plain
            lottery, below 1 prefers low scores.
        floor: least probability of each eligible action.
    """

    _least_price: ClassVar[float] = -math.inf

    distribution_: ScoreDistribution

    def __init__(self, scorer: Any, share: float = 0.3, odds: float = 10.0, floor: float = LEAST) -> None:
        self.scorer = scorer
        self.share: float = share
        self.odds = odds
        self.floor = floor

    @property
    def name(self) -> str:
        """What tables call it."""
        return f"warm start by {getattr(self.scorer, '__name__', type(self.scorer).__name__)}"

    @property
    def fitted_on(self) -> Fingerprint | None:
        """The rows its scorer learned from, if it says so."""
        return getattr(self.scorer, "fitted_on", None)

    def _learn_distribution(self, features: Any, weight: Floats | None) -> None:
        self.distribution_ = ScoreDistribution.of(self._scores(features), weight)

    def _chances(self, features: Any, n_actions: int, eligible: Flags | None) -> Chances:
        if not isinstance(self.odds, int | float | np.number) or not 0.0 < self.odds < math.inf:
            raise ParameterError(f"odds is {self.odds!r}", remedy="Pass a positive number, such as 10.")
        if not hasattr(self, "distribution_"):
            raise NotFittedError("This WarmStart has no ranking yet", remedy="Call calibrate(units) first.")
        tilt = math.log(self.odds) * (rank_from_below(self.distribution_, self._scores(features)) - 0.5)
        allowed = np.ones((tilt.size, n_actions - 1), dtype=np.bool_) if eligible is None else eligible[:, 1:]
        return lambda price: tilted(tilt, price, allowed)

    def _scores(self, features: Any) -> Floats:
        return RankPolicy(self.scorer, name=self.name).scored(features, 2).score


def rank_from_below(distribution: ScoreDistribution, scores: Floats) -> Floats:
    """(n,) share of a distribution below each score, plus half the share at it."""
    reached = np.concatenate([[0.0], np.cumsum(distribution.mass)])
    below = reached[np.searchsorted(distribution.values, scores, side="left")]
    upto = reached[np.searchsorted(distribution.values, scores, side="right")]
    return np.asarray((below + upto) / (2.0 * reached[-1]))


def tilted(tilt: Floats, price: float, allowed: Flags) -> Floats:
    """(n, A) treating with probability 1/(1 + e^(λ − tilt)), shared equally by the allowed treatments (n, A − 1)."""
    count = allowed.sum(axis=1, keepdims=True)
    p = np.zeros((tilt.size, allowed.shape[1] + 1))
    np.divide(expit(tilt - price)[:, None] * allowed, count, out=p[:, 1:], where=count > 0)
    p[:, 0] = 1.0 - p[:, 1:].sum(axis=1)
    return p
