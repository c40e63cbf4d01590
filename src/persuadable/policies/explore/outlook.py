"""What an effect learner expects of each action, net of what it costs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from persuadable.errors import DataError, NotFittedError
from persuadable.policies.base import Flags, Floats, check_actions
from persuadable.policies.budget import break_evens, net_effects
from persuadable.policies.predicted import EffectModel

if TYPE_CHECKING:
    from persuadable.fingerprint import Fingerprint

__all__ = ["UncertainEffects", "learned_from", "net_outlook", "net_stderr"]

BreakEven = float | Mapping[str, float]


class UncertainEffects(EffectModel, Protocol):
    """An effect learner that tells how sure it is, by refits on half-samples."""

    def effect_refits(self, X: Any, outcome: str | None = None) -> Iterator[NDArray[Any]]:
        """(n, A) effects, once per half-sample."""
        ...


def learned_from(learner: EffectModel) -> Fingerprint | None:
    """The rows a learner was fitted on; None before."""
    return getattr(learner, "fitted_on", None)


def net_outlook(
    learner: EffectModel,
    features: Any,
    n_actions: int,
    eligible: Flags | None,
    outcome: str | None,
    cost: str | None,
    break_even: BreakEven,
    name: str,
) -> Floats:
    """(n, A − 1) net effects of the treatments, −∞ where not eligible.

    Raises:
        NotFittedError: the learner is not fitted.
        ActionError: it knows another number of actions.
        DataError: a net effect is NaN.
    """
    if learned_from(learner) is None:
        raise NotFittedError(f"The {type(learner).__name__} is not fitted", remedy="Call learner.fit(train) first.")
    check_actions(n_actions, len(learner.actions_), name)
    effect = learner.effect(features, outcome=outcome)
    costs = None if cost is None else learner.effect(features, outcome=cost)
    net = net_effects(effect, costs, break_evens(break_even, learner.actions_))
    if np.isnan(net).any():
        row = int(np.flatnonzero(np.isnan(net).any(axis=1))[0])
        raise DataError("A net effect is NaN", where=f"row {row}", remedy="Effects must be numbers for every row.")
    return net if eligible is None else np.where(eligible[:, 1:], net, -math.inf)


def net_stderr(learner: UncertainEffects, features: Any, outcome: str | None, cost: str | None) -> Floats:
    """(n, A − 1) standard errors of the net effects: the spread of the half-samples' refits.

    The effects on outcome and cost of one half-sample move together, so it is their differences that are spread.
    """
    refits = learner.effect_refits(features, outcome)
    costs = None if cost is None else learner.effect_refits(features, cost)
    first: Floats | None = None
    count, total, squares = 0, np.zeros(1), np.zeros(1)
    for refit in refits:
        net = np.asarray(refit, dtype=np.float64)[:, 1:]
        if costs is not None:
            net = net - np.asarray(next(costs), dtype=np.float64)[:, 1:]
        first = net if first is None else first
        # Deviations from the first refit are of the size of the spread, so their squares lose nothing to rounding.
        deviation = net - first
        count, total, squares = count + 1, total + deviation, squares + deviation**2
    return np.sqrt(np.maximum(squares - total**2 / count, 0.0) / (count - 1))
