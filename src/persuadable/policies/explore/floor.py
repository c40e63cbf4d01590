"""Any policy, with something left to chance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from persuadable.errors import DataError, ParameterError
from persuadable.log.tables import distribution_remedy, improper_row
from persuadable.policies.base import Flags, Floats, Policy
from persuadable.policies.calibrated import CalibratedPolicy, Scored
from persuadable.policies.explore.explorer import Chances, Explorer
from persuadable.policies.explore.fill import LEAST

if TYPE_CHECKING:
    from persuadable.fingerprint import Fingerprint

__all__ = ["EpsilonFloor"]


class EpsilonFloor(Explorer):
    """A policy whose every eligible action has at least probability ``floor``, and which is otherwise as it was.

    The nearest such policy: each row of the base policy's probabilities becomes max(floor, c·p). Of a policy that is
    sure of its action, 1 − (k − 1)·floor stay on it, k being the unit's eligible actions.

    Args:
        policy: any policy.
        floor: least probability of each eligible action.
        share: share of users that may be treated, exploration included; the base policy, which must then be one that
            ranks (``BudgetPolicy``, ``RankPolicy``), gives way to make room. None lets exploration come on top.
    """

    def __init__(self, policy: Policy, floor: float = LEAST, share: float | None = None) -> None:
        if isinstance(policy, type) or not callable(getattr(policy, "probabilities", None)):
            kind = policy if isinstance(policy, type) else type(policy)
            raise ParameterError(
                f"policy= is {'the class' if isinstance(policy, type) else 'of type'} {kind.__name__}, not a policy",
                where="EpsilonFloor",
                remedy="Pass a policy, such as BudgetPolicy(learner, share=0.3) or TreatAll().",
            )
        self.policy = policy
        self.floor = floor
        self.share = share

    @property
    def name(self) -> str:
        """What tables call it."""
        return f"{self.policy.name}, at least {self.floor:.3g} each"

    @property
    def fitted_on(self) -> Fingerprint | None:
        """The rows the base policy learned from."""
        return self.policy.fitted_on

    @property
    def least_price(self) -> float:
        """The base policy's own floor: 0 for net effects."""
        return self.policy.floor if isinstance(self.policy, CalibratedPolicy) else self._least_price

    def _chances(self, features: Any, n_actions: int, eligible: Flags | None) -> Chances:
        if self.share is None:
            given = checked(self.policy.probabilities(features, n_actions, eligible), eligible, self.policy.name)
            return lambda price: given
        if not isinstance(self.policy, CalibratedPolicy):
            raise ParameterError(
                f"{self.policy.name!r} does not rank units, so its share cannot be changed to make room for exploring",
                remedy="Pass share=None, or a BudgetPolicy or RankPolicy.",
            )
        scored = self.policy.scored(features, n_actions, eligible)
        return lambda price: treat_above(scored, price, n_actions)


def treat_above(scored: Scored, price: float, n_actions: int) -> Floats:
    """(n, A) each unit's best treatment where its score exceeds a price, doing nothing elsewhere."""
    p = np.zeros((scored.score.shape[0], n_actions))
    treat = (scored.score > price).astype(np.float64)
    np.put_along_axis(p, scored.action[:, None], treat[:, None], axis=1)
    p[:, 0] = 1.0 - treat
    return p


def checked(given: Any, eligible: Flags | None, name: str) -> Floats:
    """A policy's probabilities as float64 with rows that sum to 1; those of float32 do so within 1e-6.

    Raises:
        DataError: rows that are no distributions, or an action that is not eligible.
    """
    p = np.asarray(given, dtype=np.float64)
    row, what = improper_row(p, 1e-6), "which is no probability distribution"
    if row is None and eligible is not None and (barred := ((p > 0.0) & ~eligible).any(axis=1)).any():
        row, what = int(np.argmax(barred)), "of which one is of an action that is not eligible"
    if row is not None:
        raise DataError(
            f"{name} gives the probabilities {np.round(p[row], 6).tolist()}, {what}",
            where=f"row {row}",
            remedy=f"{distribution_remedy(p[row])} An action that is not eligible has 0.",
        )
    return np.asarray(p / p.sum(axis=1, keepdims=True))
