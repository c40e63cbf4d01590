"""A world of several stages, small enough that the value of every policy is known exactly."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from persuadable.errors import ParameterError
from persuadable.spaces import Discrete, Staged
from persuadable.worlds.arguments import RandomState, check_between
from persuadable.worlds.outcomes import Array

__all__ = ["StageLog", "Stages"]


@dataclass(frozen=True, slots=True, eq=False)
class StageLog:
    """Rounds of up to T stages.

    Attributes:
        states: (n, T) state found at each stage, −1 after the end.
        actions: (n, T) action taken, −1 after the end.
        rewards: (n, T) 0 or 1, 0 after the end.
        propensity: (n, T) probability with which the action was taken, 1 after the end.
        length: (n,) stages that took place.
    """

    states: NDArray[np.intp]
    actions: NDArray[np.intp]
    rewards: Array
    propensity: Array
    length: NDArray[np.intp]


@dataclass(frozen=True)
class Stages:
    """T decisions one after the other about a person who is in one of few states.

    At stage t a person in state s who gets action a brings a reward of 1 with probability ``reward[s, a]``, leaves for
    good with probability ``leaving``, and otherwise is in state s′ at the next stage with probability
    ``transition[s, a, s′]``. So an action's worth lies in what it brings now and in where it leads.

    A policy is a table (T, S, A) of probabilities, or (S, A) for all stages alike.

    Args:
        n_stages: T ≥ 1.
        n_states: S ≥ 1.
        n_actions: A ≥ 2.
        leaving: chance of leaving after a stage, in [0, 1).
        seed: draws reward probabilities and transitions. Two seeds are two worlds.

    Raises:
        ParameterError: an argument out of range.
    """

    n_stages: int = 3
    n_states: int = 3
    n_actions: int = 2
    leaving: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        check_between("Stages", n_stages=(self.n_stages, 1, 50), n_states=(self.n_states, 1, 50))
        check_between("Stages", n_actions=(self.n_actions, 2, 50), leaving=(self.leaving, 0, 0.99))

    @property
    def space(self) -> Staged:
        """The actions of every stage, of which the first is to do nothing."""
        names = ("nothing", *(f"action {a}" for a in range(1, self.n_actions)))
        return Staged((Discrete(names),) * self.n_stages)

    @cached_property
    def start(self) -> Array:
        """(S,) how often a round starts in each state."""
        return np.asarray(np.random.default_rng([self.seed, 0]).dirichlet(np.full(self.n_states, 3.0)))

    @cached_property
    def reward(self) -> Array:
        """(S, A) probability of a reward."""
        rng = np.random.default_rng([self.seed, 1])
        return np.asarray(rng.uniform(0.05, 0.6, (self.n_states, self.n_actions)))

    @cached_property
    def transition(self) -> Array:
        """(S, A, S) where those who stay are next."""
        rng = np.random.default_rng([self.seed, 2])
        return np.asarray(rng.dirichlet(np.ones(self.n_states), (self.n_states, self.n_actions)))

    @property
    def logging(self) -> Array:
        """(T, S, A) the policy that ``sample`` follows: all actions alike."""
        return np.full((self.n_stages, self.n_states, self.n_actions), 1.0 / self.n_actions)

    def best(self, explore: float = 0.0) -> Array:
        """(T, S, A) the best policy, or that policy with a share ``explore`` of decisions at random."""
        check_between("Stages.best", explore=(explore, 0, 1))
        table, future = np.empty_like(self.logging), np.zeros(self.n_states)
        for stage in reversed(range(self.n_stages)):
            q = self._now(future)
            table[stage] = np.eye(self.n_actions)[q.argmax(axis=1)]
            future = q.max(axis=1)
        return (1 - explore) * table + explore / self.n_actions

    def q(self, policy: ArrayLike, discount: float = 1.0) -> Array:
        """(T, S, A) exact Q_t(s, a): what a brings at stage t and, discounted, the policy brings afterwards."""
        table = self._table(policy)
        q, future = np.empty_like(table), np.zeros(self.n_states)
        for stage in reversed(range(self.n_stages)):
            q[stage] = self._now(discount * future)
            future = (table[stage] * q[stage]).sum(axis=1)
        return q

    def value(self, policy: ArrayLike, discount: float = 1.0) -> float:
        """Exact E[Σ_t γ^(t−1) r_t] of a policy."""
        return float(self.start @ (self._table(policy)[0] * self.q(policy, discount)[0]).sum(axis=1))

    def sample(self, n: int, random_state: RandomState = None, policy: ArrayLike | None = None) -> StageLog:
        """n rounds decided by a policy; None is ``logging``."""
        rng, table = np.random.default_rng(random_state), self._table(self.logging if policy is None else policy)
        shape = (n, self.n_stages)
        states, actions = np.full(shape, -1, dtype=np.intp), np.full(shape, -1, dtype=np.intp)
        rewards, propensity = np.zeros(shape), np.ones(shape)
        length = np.zeros(n, dtype=np.intp)
        here, state = np.arange(n), _drawn(np.broadcast_to(self.start, (n, self.n_states)), rng)
        for stage in range(self.n_stages):
            probabilities = table[stage, state]
            action = _drawn(probabilities, rng)
            states[here, stage], actions[here, stage] = state, action
            propensity[here, stage] = probabilities[np.arange(here.size), action]
            rewards[here, stage] = rng.random(here.size) < self.reward[state, action]
            length[here] += 1
            stays = rng.random(here.size) >= self.leaving
            here = here[stays]
            state = _drawn(self.transition[state[stays], action[stays]], rng)
        return StageLog(states, actions, rewards, propensity, length)

    def at(self, table: ArrayLike, log: StageLog) -> Array:
        """(n, T, A) the rows of a table (T, S, A) for the states a log was in; after a round's end those of state 0."""
        return np.asarray(self._table(table)[np.arange(self.n_stages), np.maximum(log.states, 0)])

    def _now(self, future: Array) -> Array:
        """(S, A) expected reward now and what is expected (S,) of the next state."""
        return np.asarray(self.reward + (1 - self.leaving) * self.transition @ future)

    def _table(self, values: ArrayLike) -> Array:
        table, shape = np.asarray(values, dtype=np.float64), self.logging.shape
        if table.shape not in (shape, shape[1:]):
            raise ParameterError(
                f"A table of shape {table.shape} does not fit stages, states and actions {shape}",
                where="worlds.Stages",
                remedy="Pass (T, S, A), or (S, A) for all stages alike.",
            )
        return np.asarray(np.broadcast_to(table, shape))


def _drawn(probabilities: NDArray[Any], rng: np.random.Generator) -> NDArray[np.intp]:
    """(n,) one column of each row (n, k), drawn with its probability."""
    above = rng.random((probabilities.shape[0], 1)) >= np.cumsum(probabilities, axis=1)[:, :-1]
    return np.asarray(above.sum(axis=1), dtype=np.intp)
