"""What a policy is worth in a world whose means are known, and the actions that propensities draw."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from persuadable.errors import ParameterError
from persuadable.features import Features
from persuadable.worlds.outcomes import Array

__all__ = ["PolicyLike", "TrueValue", "drawn", "true_value"]


class PolicyLike(Protocol):
    """A policy: anything that turns features into action probabilities."""

    def probabilities(self, features: Features, n_actions: int, eligible: Any = None) -> NDArray[np.float64]:
        """(n, A) probabilities, rows summing to 1."""
        ...


@dataclass(frozen=True, slots=True)
class TrueValue:
    """What a policy is worth in a world, per head.

    Attributes:
        value: E[Σ_a π(a | X) μ_a(X)], in outcome units; the conditional means are exact, X is integrated by sampling.
        stderr: standard error of ``value`` from that sampling.
        gain: ``value`` less the value of doing nothing; it has the smaller error of the two.
        gain_stderr: standard error of ``gain``.
        cost: E[Σ_a π(a | X) c_a(X)], 0 in a world without costs.
        shares: (A,) how often each action is taken.
        n: units sampled.
    """

    value: float
    stderr: float
    gain: float
    gain_stderr: float
    cost: float
    shares: tuple[float, ...]
    n: int

    def __float__(self) -> float:
        return self.value


def drawn(propensities: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.int16]:
    """(n,) actions, one draw a row."""
    u = rng.random(len(propensities))
    edges = np.cumsum(propensities[:, :-1], axis=1)
    return np.asarray((u[:, None] >= edges).sum(axis=1, dtype=np.int16))


def true_value(policy: PolicyLike | int, units: Features, response: Array, cost: Array) -> TrueValue:
    """What a policy, or the action of this code given to all, is worth on units.

    Args:
        policy: it is asked for its probabilities.
        units: n of them.
        response: (n, A) exact means of the outcome.
        cost: (n, A) exact effects on cost, or (1, A) where all units' are the same.

    Raises:
        ParameterError: no such action, or probabilities of another shape, negative, or not summing to 1.
    """
    chosen = _probabilities(policy, units, response.shape[1])
    value = np.einsum("na,na->n", chosen, response)
    gain = value - response[:, 0]
    spent = np.einsum("na,na->n", chosen, np.broadcast_to(cost, response.shape))
    root = np.sqrt(len(units))
    return TrueValue(
        value=float(value.mean()),
        stderr=float(value.std() / root),
        gain=float(gain.mean()),
        gain_stderr=float(gain.std() / root),
        cost=float(spent.mean()),
        shares=tuple(chosen.mean(axis=0).tolist()),
        n=len(units),
    )


def _probabilities(policy: PolicyLike | int, units: Features, n_actions: int) -> NDArray[np.float64]:
    """(n, A) what the policy does, checked."""
    if isinstance(policy, int | np.integer):
        if not 0 <= policy < n_actions:
            raise ParameterError(f"There is no action {policy}", remedy=f"Actions are 0 … {n_actions - 1}.")
        return np.tile(np.eye(n_actions)[policy], (len(units), 1))
    chosen = np.asarray(policy.probabilities(units, n_actions), dtype=np.float64)
    if chosen.shape != (len(units), n_actions):
        raise ParameterError(
            f"The policy's probabilities have shape {chosen.shape}, expected {(len(units), n_actions)}",
            remedy="Return one row a unit and one column an action.",
        )
    # Written so that NaN fails too.
    if not ((chosen >= 0.0).all() and (np.abs(chosen.sum(axis=1) - 1.0) <= 1e-6).all()):
        raise ParameterError("The policy's probabilities are negative or do not sum to 1", remedy="Normalise each row.")
    return chosen
