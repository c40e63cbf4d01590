"""What a policy is, and the small arithmetic every policy shares."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from persuadable.errors import ActionError, DataError, ParameterError

if TYPE_CHECKING:
    from persuadable.fingerprint import Fingerprint

__all__ = [
    "Policy",
    "actions_at",
    "check_eligible",
    "check_share",
    "count_rows",
    "one_action",
    "sample_actions",
    "spread_equally",
]

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


@runtime_checkable
class Policy(Protocol):
    """A rule that gives every unit a probability for each action.

    Attributes:
        name: what tables and figures call it.
        fitted_on: the rows its models learned from; None where it learned from nothing.
    """

    @property
    def name(self) -> str:
        """What tables and figures call it."""
        ...

    @property
    def fitted_on(self) -> Fingerprint | None:
        """The rows its models learned from."""
        ...

    def probabilities(self, features: Any, n_actions: int, eligible: ArrayLike | None = None) -> Floats:
        """(n, A) probabilities of the actions: rows sum to 1, zero where an action is not eligible."""
        ...


def check_share(share: float) -> float:
    """The share as a float.

    Raises:
        ParameterError: not a number in [0, 1].
    """
    try:
        value = float(share)
    except (TypeError, ValueError):
        value = float("nan")
    if not 0.0 <= value <= 1.0:
        raise ParameterError(
            f"share is {share!r}, not a number from 0 to 1",
            remedy="Pass the share of users the budget pays for; for a number of users call for_capacity().",
        )
    return value


def check_eligible(eligible: ArrayLike | None, n: int, n_actions: int) -> Flags | None:
    """Eligibility as an (n, A) mask in which doing nothing is always allowed; None stays None.

    Raises:
        ActionError: another shape.
    """
    if eligible is None:
        return None
    mask = np.array(eligible, dtype=np.bool_)
    if mask.shape != (n, n_actions):
        raise ActionError(
            f"eligible has shape {mask.shape}, expected {(n, n_actions)}",
            remedy="Pass one row per unit and one column per action, the control first.",
        )
    mask[:, 0] = True
    return mask


def check_actions(n_actions: int, known: int, name: str) -> None:
    """Refuse a number of actions that the policy does not know.

    Raises:
        ActionError: the two numbers differ.
    """
    if n_actions != known:
        raise ActionError(
            f"{name} chooses among {known} actions, the log has {n_actions}",
            remedy="Judge a policy on a log with the actions it was made for; log.contrast(a) makes a two-arm log.",
        )


def count_rows(features: Any) -> int:
    """How many units ``features`` describes.

    Raises:
        DataError: it has no length.
    """
    try:
        return len(features)
    except TypeError:
        raise DataError(
            f"Features of type {type(features).__name__} have no rows", remedy="Pass Features, a frame or a 2-D array."
        ) from None


def one_action(action: int, probability: ArrayLike, n: int, n_actions: int, eligible: Flags | None) -> Floats:
    """(n, A): this action with this probability where it is eligible, doing nothing otherwise.

    Raises:
        ActionError: the action does not exist.
    """
    if not 0 <= action < n_actions:
        raise ActionError(
            f"There is no action {action} among {n_actions}", remedy=f"Actions run from 0 to {n_actions - 1}."
        )
    p = np.zeros((n, n_actions))
    p[:, action] = probability if eligible is None else np.where(eligible[:, action], probability, 0.0)
    p[:, 0] = 1.0 if action == 0 else 1.0 - p[:, action]
    return p


def spread_equally(share: float, n: int, n_actions: int, eligible: Flags | None) -> Floats:
    """(n, A): ``share`` divided equally among each unit's eligible treatments, the rest on doing nothing."""
    allowed = np.ones((n, n_actions - 1)) if eligible is None else eligible[:, 1:].astype(np.float64)
    count = allowed.sum(axis=1, keepdims=True)
    p = np.zeros((n, n_actions))
    np.divide(share * allowed, count, out=p[:, 1:], where=count > 0)
    p[:, 0] = 1.0 - p[:, 1:].sum(axis=1)
    return p


def sample_actions(probabilities: Floats, rng: np.random.Generator) -> NDArray[np.int16]:
    """(n,) actions drawn from the rows of (n, A) probabilities, one uniform number per row."""
    return actions_at(probabilities, rng.random(len(probabilities)))


def actions_at(probabilities: Floats, lots: Floats) -> NDArray[np.int16]:
    """(n,) actions that numbers u in [0, 1) pick from (n, A) probabilities: the a with F(a − 1) ≤ u < F(a)."""
    edges = np.cumsum(probabilities, axis=1)[:, :-1]
    drawn: NDArray[np.int16] = (lots[:, None] >= edges).sum(axis=1).astype(np.int16)
    # A last edge that rounds to just under 1 must not select an action whose probability is zero.
    possible = np.take_along_axis(probabilities, drawn[:, None].astype(np.intp), axis=1)[:, 0] > 0
    return np.where(possible, drawn, probabilities.argmax(axis=1)).astype(np.int16)
