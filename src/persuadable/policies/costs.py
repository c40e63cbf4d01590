"""What actions cost: as it was stated, or as a model predicts it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from persuadable.errors import ActionError, ParameterError
from persuadable.policies.base import Floats

if TYPE_CHECKING:
    from persuadable.log import DecisionLog
    from persuadable.spaces import Discrete

__all__ = ["never_saves", "stated_costs"]


def never_saves(log: DecisionLog, cost: str) -> bool:
    """Whether the log shows that no action can save money, so that a predicted cost below 0 is a model's error.

    So it is where no logged cost is below 0 and doing nothing, tried at least once, never cost anything: then the
    incremental cost E[cost | x, a] − E[cost | x, 0] is E[cost | x, a], which is not below 0. Where doing nothing costs
    something, as where people redeem what they find by themselves, an action may save that; and where some logged costs
    are negative, as refunds are, so may the predicted ones be. There, and where the log does not tell the cost,
    predictions are taken as they are.
    """
    if cost not in log.outcomes:
        return False
    paid, nothing = log.outcome(cost), log.action == 0
    return bool(nothing.any() and (paid >= 0.0).all() and not paid[nothing].any())


def stated_costs(told: Mapping[str, float] | Sequence[float] | NDArray[Any], actions: Discrete) -> Floats:
    """(A,) stated costs, 0 for doing nothing.

    Args:
        told: treatment → cost, or (A,) numbers that begin with 0.
        actions: those to be paid for.

    Raises:
        ActionError: treatments without a cost, or costs for what is no treatment.
        ParameterError: a cost that is not a finite number from 0, or a cost of doing nothing.
    """
    if isinstance(told, Mapping):
        told = [0.0, *_in_order(told, actions)]
    costs = list(told)
    if len(costs) != len(actions):
        raise ActionError(
            f"{len(costs)} stated costs for {len(actions)} actions",
            remedy=f"State one for each of {list(actions)}, 0 for the first.",
        )
    for label, cost in zip(actions, costs, strict=True):
        if not (isinstance(cost, int | float | np.number) and not isinstance(cost, bool) and 0 <= cost < math.inf):
            raise ParameterError(
                f"{label!r} is stated to cost {cost!r}, and a cost is a finite number from 0",
                remedy="State what giving it costs, 0 where it is free; what it saves belongs to the value.",
            )
    if costs[0] != 0:
        raise ParameterError(
            f"{actions.names[0]!r} is stated to cost {costs[0]!r}",
            remedy="Costs are over doing nothing, whose own is 0.",
        )
    return np.array(costs, dtype=np.float64)


def _in_order(told: Mapping[str, float], actions: Discrete) -> list[float]:
    treatments = actions.treatments
    sides = (
        ("name", [label for label in told if label not in treatments]),
        ("lack", [label for label in treatments if label not in told]),
    )
    wrong = [f"{verb} {', '.join(map(repr, labels))}" for verb, labels in sides if labels]
    if wrong:
        raise ActionError(
            f"The stated costs {' and '.join(wrong)}", remedy=f"State one cost for each of {list(treatments)}."
        )
    return [told[label] for label in treatments]
