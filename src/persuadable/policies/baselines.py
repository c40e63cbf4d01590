"""Policies that know nothing of the units: what every targeting has to beat."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from numpy.typing import ArrayLike

from persuadable.errors import ActionError
from persuadable.params import Parameters
from persuadable.policies.base import (
    Floats,
    Policy,
    check_eligible,
    check_share,
    count_rows,
    one_action,
    spread_equally,
)

if TYPE_CHECKING:
    from persuadable.fingerprint import Fingerprint
    from persuadable.spaces import Discrete

__all__ = ["RandomPolicy", "TreatAll", "TreatNone", "among"]


class RandomPolicy(Parameters):
    """Treat a share of the units, drawn by lot: what a budget buys without a model.

    Args:
        share: probability of treating a unit, in [0, 1].
        action: the treatment given, by label or code; None divides the share equally among a unit's eligible
            treatments. A label is understood where a log says what it means.
    """

    def __init__(self, share: float, action: int | str | None = None) -> None:
        self.share = share
        self.action = action

    @property
    def name(self) -> str:
        """What tables call it."""
        return f"random {self.share:.0%}" if self.action is None else f"random {self.share:.0%} of {_told(self.action)}"

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
        return one_action(_code(self.action), share, n, n_actions, allowed)


class TreatAll(Parameters):
    """Give every eligible unit one action.

    Args:
        action: which, by label or code; a label is understood where a log says what it means. With several treatments
            say which one is meant: the first in the log's order is only what comes first.
    """

    def __init__(self, action: int | str = 1) -> None:
        self.action = action

    @property
    def name(self) -> str:
        """What tables call it."""
        return "treat all" if self.action == 1 else f"treat all with {_told(self.action)}"

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
        return one_action(_code(self.action), 1.0, n, n_actions, check_eligible(eligible, n, n_actions))


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


def among(policy: Policy, actions: Discrete) -> tuple[Policy, str]:
    """A policy with its action as a code, where it names one, and what to call it among these labels.

    Raises:
        ActionError: no such action.
    """
    if not isinstance(policy, RandomPolicy | TreatAll) or policy.action is None:
        return policy, policy.name
    told, code = policy.get_params(deep=False), actions.index(policy.action)
    coded = type(policy)(**{**told, "action": code})
    only = len(actions) == 2 and code == 1
    return coded, coded.name if only else type(policy)(**{**told, "action": actions.names[code]}).name


def _told(action: int | str) -> str:
    return action if isinstance(action, str) else f"action {action}"


def _code(action: int | str) -> int:
    if isinstance(action, str):
        raise ActionError(
            f"What {action!r} means is known only where the actions have labels",
            remedy="Judge the policy on a log, or pass the action's code: log.actions.index(label).",
        )
    return action
