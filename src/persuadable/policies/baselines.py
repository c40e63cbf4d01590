"""Policies that know nothing of the units: what every targeting has to beat."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from numpy.typing import ArrayLike

from persuadable.params import Parameters
from persuadable.policies.base import (
    Floats,
    check_eligible,
    check_share,
    count_rows,
    one_action,
    spread_equally,
)

if TYPE_CHECKING:
    from persuadable.fingerprint import Fingerprint

__all__ = ["RandomPolicy", "TreatAll", "TreatNone"]


class RandomPolicy(Parameters):
    """Treat a share of the units, drawn by lot: what a budget buys without a model.

    Args:
        share: probability of treating a unit, in [0, 1].
        action: the treatment given; None divides the share equally among a unit's eligible treatments.
    """

    def __init__(self, share: float, action: int | None = None) -> None:
        self.share = share
        self.action = action

    @property
    def name(self) -> str:
        """What tables call it."""
        return f"random {self.share:.0%}" if self.action is None else f"random {self.share:.0%} of action {self.action}"

    @property
    def fitted_on(self) -> Fingerprint | None:
        """Nothing was learned."""
        return None

    def probabilities(self, features: Any, n_actions: int, eligible: ArrayLike | None = None) -> Floats:
        """(n, A) probabilities; a unit without an eligible treatment is left alone.

        Raises:
            ParameterError: the share is not in [0, 1].
            ActionError: no such action, or eligibility of another shape.
        """
        n = count_rows(features)
        allowed = check_eligible(eligible, n, n_actions)
        share = check_share(self.share)
        if self.action is None:
            return spread_equally(share, n, n_actions, allowed)
        return one_action(self.action, share, n, n_actions, allowed)


class TreatAll(Parameters):
    """Give every eligible unit one action.

    Args:
        action: which.
    """

    def __init__(self, action: int = 1) -> None:
        self.action = action

    @property
    def name(self) -> str:
        """What tables call it."""
        return "treat all" if self.action == 1 else f"treat all with action {self.action}"

    @property
    def fitted_on(self) -> Fingerprint | None:
        """Nothing was learned."""
        return None

    def probabilities(self, features: Any, n_actions: int, eligible: ArrayLike | None = None) -> Floats:
        """(n, A) probabilities: 1 on the action where it is eligible, else on doing nothing.

        Raises:
            ActionError: no such action, or eligibility of another shape.
        """
        n = count_rows(features)
        return one_action(self.action, 1.0, n, n_actions, check_eligible(eligible, n, n_actions))


class TreatNone(Parameters):
    """Leave every unit alone."""

    def __init__(self) -> None:
        pass

    @property
    def name(self) -> str:
        """What tables call it."""
        return "treat none"

    @property
    def fitted_on(self) -> Fingerprint | None:
        """Nothing was learned."""
        return None

    def probabilities(self, features: Any, n_actions: int, eligible: ArrayLike | None = None) -> Floats:
        """(n, A) probabilities: 1 on doing nothing."""
        return one_action(0, 1.0, count_rows(features), n_actions, None)
