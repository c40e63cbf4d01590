"""Checks of a world's parameters; each refusal names the argument and the remedy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from persuadable.errors import ParameterError
from persuadable.worlds.outcomes import FAMILIES
from persuadable.worlds.surfaces import MIN_NUMBERS, SURFACES

if TYPE_CHECKING:
    from persuadable.worlds.randomised import RandomisedTrial

__all__ = [
    "RandomState",
    "check_between",
    "check_names",
    "check_numbers",
    "plain",
    "require_decisions",
    "require_units",
]

RandomState = int | np.random.Generator | None


def plain(told: Any) -> Any:
    """Sequences as tuples of floats, so that worlds can be compared and hashed."""
    if told is None or np.ndim(told) == 0:
        return None if told is None else float(told)
    return tuple(float(v) for v in np.asarray(told, dtype=np.float64).ravel())


def check_between(where: str, **told: tuple[float, float, float]) -> None:
    """Refuse an argument outside [least, most]; each is told as (value, least, most).

    Raises:
        ParameterError: naming the argument.
    """
    for name, (value, least, most) in told.items():
        if not least <= value <= most:
            raise ParameterError(
                f"{name}={value!r} is out of range",
                where=f"worlds.{where}",
                remedy=f"Give a number from {least:g} to {most:g}.",
            )


def require_units(n: int) -> None:
    """Refuse to draw nobody.

    Raises:
        ParameterError: n < 1.
    """
    if n < 1:
        raise ParameterError(f"n must be at least 1, got {n}", remedy="Ask for one unit or more.")


def require_decisions(n: int) -> None:
    """Refuse a log of less than two decisions.

    Raises:
        ParameterError: n < 2.
    """
    if n < 2:
        raise ParameterError(f"A log needs at least 2 decisions, got n={n}", remedy="Ask for more.")


def _refuse(what: str, remedy: str) -> ParameterError:
    return ParameterError(what, where="worlds.RandomisedTrial", remedy=remedy)


def check_names(world: RandomisedTrial) -> None:
    """Refuse a choice that is not known."""
    allowed = {
        "surface": tuple(SURFACES),
        "outcome": tuple(FAMILIES),
        "propensity": ("constant", "confounded"),
        "cost_when": (None, "response", "assignment"),
    }
    for name, choices in allowed.items():
        if getattr(world, name) not in choices:
            raise _refuse(f"{name}={getattr(world, name)!r} is not known", f"Choose one of {list(choices)}.")


def check_numbers(world: RandomisedTrial) -> None:
    """Refuse numbers out of range, shares that do not sum to 1, and costs that fit no treatment."""
    if world.n_actions < 2:
        raise _refuse(f"n_actions={world.n_actions} leaves no treatment", "Ask for 2 or more; action 0 is the control.")
    if world.n_categorical < 0 or world.n_numbers < MIN_NUMBERS:
        raise _refuse(
            f"n_features={world.n_features} with n_categorical={world.n_categorical} leaves {world.n_numbers} numbers",
            f"The surfaces need {MIN_NUMBERS} numeric features.",
        )
    _check_rates(world)
    _check_shares(world)
    _check_costs(world)


def _check_rates(world: RandomisedTrial) -> None:
    rate = float(world.base_rate or 0.0)
    if world.outcome in ("binary", "money") and not 1e-4 <= rate <= 1.0 - 1e-4:
        raise _refuse(f"base_rate={rate} is not a share", "Give a share between 0.0001 and 0.9999.")
    if world.outcome == "count" and not 0.0 < rate < 1e6:
        raise _refuse(f"base_rate={rate} is not a mean count", "Give a mean above 0 and below a million.")
    numbers = ("base_rate", "effect_scale", "effect_mean", "baseline_scale", "noise", "amount")
    for name in numbers:
        if not np.isfinite(float(getattr(world, name))):
            raise _refuse(f"{name}={getattr(world, name)} is not finite", "Give a finite number.")
    for name in ("effect_scale", "baseline_scale", "noise", "amount"):
        if float(getattr(world, name)) < 0.0:
            raise _refuse(f"{name}={getattr(world, name)} is negative", "Give 0 or more.")


def _check_shares(world: RandomisedTrial) -> None:
    shares = world.shares
    if len(shares) != world.n_actions or not abs(float(shares.sum()) - 1.0) < 1e-9:
        raise _refuse(
            f"treated_share={world.treated_share} does not give {world.n_actions} shares summing to 1",
            "Give the treated share, or one share per action with the control's first.",
        )
    if not (shares > 0.0).all():
        raise _refuse(f"treated_share={world.treated_share} leaves an action without units", "Give shares above 0.")


def _check_costs(world: RandomisedTrial) -> None:
    if world.cost_when == "response" and world.outcome == "real":
        raise _refuse('cost_when="response" needs an outcome that is a response', 'Use cost_when="assignment".')
    if isinstance(world.costs, tuple) and len(world.costs) != world.n_actions - 1:
        raise _refuse(
            f"{len(world.costs)} costs for {world.n_actions - 1} treatments",
            "Give one cost per treatment; the control costs nothing.",
        )
    costs = world.action_costs
    if not (np.isfinite(costs).all() and (costs >= 0.0).all()):
        raise _refuse(f"costs={world.costs} are not all finite and at least 0", "Give costs of 0 or more.")
