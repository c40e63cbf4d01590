"""Likelier the more it is worth: exploration spent where the actions are close."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from persuadable.errors import ParameterError
from persuadable.policies.base import Flags, Floats
from persuadable.policies.explore.explorer import Chances, Explorer
from persuadable.policies.explore.fill import LEAST
from persuadable.policies.explore.outlook import BreakEven, learned_from, net_outlook
from persuadable.policies.predicted import EffectModel

if TYPE_CHECKING:
    from persuadable.fingerprint import Fingerprint

__all__ = ["Softmax", "softmax"]


class Softmax(Explorer):
    """Each action with a probability that grows with its net value: π_a ∝ exp((v_a − λ)/T), π_0 ∝ 1.

    v_a is the net effect of treatment a (Luce 1959; Gibbs' distribution). λ is 0, or the price at which ``share`` of
    the users is treated. Two actions whose net values are T apart have probabilities in the ratio of e to 1.

    Args:
        learner: a fitted effect learner.
        temperature: T, in units of the outcome, above 0; the smaller, the greedier.
        floor: least probability of each eligible action.
        share: share of users that may be treated, exploration included; None for no budget.
        outcome: what is to be raised; the learner's first outcome when None.
        cost: the outcome that is the treatment's cost, in the same unit; none when None.
        break_even: the effect a treatment must exceed, one number or one per treatment by label.
    """

    def __init__(
        self,
        learner: EffectModel,
        temperature: float,
        floor: float = LEAST,
        share: float | None = None,
        outcome: str | None = None,
        cost: str | None = None,
        break_even: BreakEven = 0.0,
    ) -> None:
        self.learner = learner
        self.temperature = temperature
        self.floor = floor
        self.share = share
        self.outcome = outcome
        self.cost = cost
        self.break_even = break_even

    @property
    def name(self) -> str:
        """What tables call it."""
        return f"softmax of {type(self.learner).__name__} at {self.temperature:.3g}"

    @property
    def fitted_on(self) -> Fingerprint | None:
        """The rows its learner learned from."""
        return learned_from(self.learner)

    def _chances(self, features: Any, n_actions: int, eligible: Flags | None) -> Chances:
        temperature = _checked_temperature(self.temperature)
        net = net_outlook(
            self.learner, features, n_actions, eligible, self.outcome, self.cost, self.break_even, self.name
        )
        return lambda price: softmax(net, temperature, price)


def softmax(net: Floats, temperature: float, price: float = 0.0) -> Floats:
    """(n, A) probabilities ∝ exp((v_a − λ)/T) from net values (n, A − 1), doing nothing being worth 0.

    Args:
        net: −∞ where a treatment is not eligible.
        temperature: T > 0.
        price: λ, subtracted from every treatment.
    """
    exponent = np.concatenate([np.zeros((net.shape[0], 1)), (net - price) / temperature], axis=1)
    raised = np.exp(exponent - exponent.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))


def _checked_temperature(temperature: float) -> float:
    if not isinstance(temperature, int | float | np.number) or not 0.0 < temperature < math.inf:
        raise ParameterError(
            f"temperature is {temperature!r}",
            remedy="Pass a positive number in the outcome's unit, about the difference in net value that matters.",
        )
    return float(temperature)
