"""A world of slates, small enough that the value of every policy is known exactly."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from persuadable.errors import ParameterError
from persuadable.spaces import Slate
from persuadable.worlds.arguments import RandomState, check_between
from persuadable.worlds.outcomes import Array

__all__ = ["PlackettLuce", "SlateLog", "Slates"]


@dataclass(frozen=True, slots=True, eq=False)
class SlateLog:
    """Rounds in which a slate was shown.

    Attributes:
        context: (n,) which kind of person it was.
        slates: (n, K) items shown.
        rewards: (n, K) 0 or 1 for each position.
        propensity: (n, K) probability of the item at k, given those above it.
        marginal: (n, K) probability of the item at k, whatever is above it.
    """

    context: NDArray[np.intp]
    slates: NDArray[np.intp]
    rewards: Array
    propensity: Array
    marginal: Array


@dataclass(frozen=True)
class PlackettLuce:
    """A policy that fills a slate from the top, each item with a probability ∝ exp(score) among those not yet shown.

    Attributes:
        scores: (C, A) score of each item in each context.
        space: the slates.
    """

    scores: Array
    space: Slate

    def __post_init__(self) -> None:
        if self.scores.ndim != 2 or self.scores.shape[1] != len(self.space.items) or not np.isfinite(self.scores).all():
            raise ParameterError(
                f"Scores of shape {self.scores.shape} are not finite numbers (C, {len(self.space.items)})",
                remedy="Give one row per context and one finite score per item.",
            )

    def table(self, context: ArrayLike, slates: ArrayLike) -> Array:
        """(n, K, A) probability of every item at k, given the items that a slate shows above it."""
        shown = self.space.check(slates)
        left = self.scores[np.asarray(context)]
        table = np.empty((*shown.shape, left.shape[1]))
        for k in range(shown.shape[1]):
            odds = np.exp(left - left.max(axis=1, keepdims=True))
            table[:, k] = odds / odds.sum(axis=1, keepdims=True)
            np.put_along_axis(left, shown[:, k, None], -np.inf, axis=1)
        return table

    def conditional(self, context: ArrayLike, slates: ArrayLike) -> Array:
        """(n, K) probability of the item shown at k, given those above it."""
        table = self.table(context, slates)
        return np.asarray(np.take_along_axis(table, np.asarray(slates)[:, :, None], axis=2)[:, :, 0])

    def marginal(self, context: ArrayLike, slates: ArrayLike) -> Array:
        """(n, K) probability of the item shown at k, whatever is above it: a sum over all slates."""
        shown = self.space.check(slates)
        return np.asarray(self._marginals[np.asarray(context)[:, None], np.arange(shown.shape[1]), shown])

    def draw(self, context: ArrayLike, random_state: RandomState = None) -> NDArray[np.intp]:
        """(n, K) slates: the highest scores after Gumbel noise, in order."""
        scores = self.scores[np.asarray(context)]
        noisy = scores + np.random.default_rng(random_state).gumbel(size=scores.shape)
        return np.asarray(np.argsort(-noisy, axis=1)[:, : self.space.length], dtype=np.intp)

    def probabilities(self) -> Array:
        """(C, S) probability of every slate of ``space.all()`` in every context."""
        every, contexts = self.space.all(), self.scores.shape[0]
        each = [self.conditional(np.full(len(every), c), every).prod(axis=1) for c in range(contexts)]
        return np.array(each)

    @cached_property
    def _marginals(self) -> Array:
        """(C, K, A) probability of each item at each position."""
        every, p = self.space.all(), self.probabilities()
        table = np.zeros((p.shape[0], self.space.length, self.scores.shape[1]))
        for k in range(self.space.length):
            np.add.at(table[:, k].T, every[:, k], p.T)
        return table


@dataclass(frozen=True)
class Slates:
    """K of A items shown to persons of a few kinds, who reward positions by what they see.

    A position pays 1 with probability logistic(a(x, item) − decay · k − interaction · Σ a⁺ of the items that matter to
    it), a⁺ = max(a, 0): attractive neighbours take attention away. Which items matter is the ``behaviour``:

    - "independent": none but its own;
    - "cascade": those above it too, as people read from the top;
    - "whole": all others of the slate.

    Args:
        behaviour: how a position's reward depends on the rest of the slate.
        n_items: A, at most 8.
        length: K ≤ A, at most 5.
        n_contexts: kinds of persons, equally frequent.
        interaction: how much neighbours matter.
        decay: attention lost from one position to the next, on the log-odds scale.
        seed: draws the attractions a. Two seeds are two worlds.

    Raises:
        ParameterError: an argument out of range.
    """

    behaviour: Literal["independent", "cascade", "whole"] = "cascade"
    n_items: int = 5
    length: int = 3
    n_contexts: int = 4
    interaction: float = 1.0
    decay: float = 0.3
    seed: int = 0

    def __post_init__(self) -> None:
        if self.behaviour not in ("independent", "cascade", "whole"):
            raise ParameterError(
                f"behaviour={self.behaviour!r} is not known",
                where="worlds.Slates",
                remedy="Choose 'independent', 'cascade' or 'whole'.",
            )
        check_between("Slates", n_items=(self.n_items, 1, 8), length=(self.length, 1, min(5, self.n_items)))
        check_between("Slates", n_contexts=(self.n_contexts, 1, 100), interaction=(self.interaction, 0, 100))
        check_between("Slates", decay=(self.decay, -10, 10))

    @property
    def space(self) -> Slate:
        """The slates."""
        return Slate(tuple(f"item {a}" for a in range(self.n_items)), self.length)

    @cached_property
    def attraction(self) -> Array:
        """(C, A) how attractive each item is to each kind of person, on the log-odds scale."""
        return np.random.default_rng(self.seed).normal(0.0, 1.0, (self.n_contexts, self.n_items))

    @property
    def logging(self) -> PlackettLuce:
        """The policy that ``sample`` follows: it knows half of the truth and explores a good deal."""
        return self.softmax(0.5)

    def softmax(self, sharpness: float) -> PlackettLuce:
        """A policy with scores sharpness · attraction; negative ones prefer what nobody wants."""
        return PlackettLuce(sharpness * self.attraction, self.space)

    def mean(self, context: ArrayLike, slates: ArrayLike) -> Array:
        """(n, K) exact probability of a reward at each position."""
        who, shown = np.asarray(context), self.space.check(slates)
        own = self.attraction[who[:, None], shown]
        drawn = np.maximum(own, 0.0)
        if self.behaviour == "cascade":
            others = np.cumsum(drawn, axis=1) - drawn
        else:
            others = drawn.sum(axis=1, keepdims=True) - drawn
        strength = 0.0 if self.behaviour == "independent" else self.interaction
        score = own - self.decay * np.arange(self.length) - strength * others
        return np.asarray(1 / (1 + np.exp(-score)))

    def value(self, policy: PlackettLuce) -> float:
        """Exact E[Σ_k r_k] of a policy, summed over all slates."""
        return float((policy.probabilities() * self._means().sum(axis=2)).sum(axis=1).mean())

    def remaining(self, policy: PlackettLuce, context: ArrayLike, slates: ArrayLike) -> Array:
        """(n, K, A) exact expected reward from position k on, were this item shown there and the policy to go on.

        The items above k are those of ``slates``; an item among them cannot be shown again and has a 0.
        """
        who, shown = np.asarray(context), self.space.check(slates)
        every, p, rewards = self.space.all(), policy.probabilities(), self._means()
        from_here = np.cumsum(rewards[:, :, ::-1], axis=2)[:, :, ::-1]
        table, above = np.empty((*shown.shape, self.n_items)), np.zeros(len(who), dtype=np.intp)
        code, cells = np.zeros(len(every), dtype=np.intp), 1
        for k in range(self.length):
            code, cells = code * self.n_items + every[:, k], cells * self.n_items
            mass = np.stack([np.bincount(code, row, cells) for row in p])
            total = np.stack([np.bincount(code, row, cells) for row in p * from_here[:, :, k]])
            q = np.divide(total, mass, out=np.zeros_like(mass), where=mass > 0)
            table[:, k] = q[who[:, None], above[:, None] * self.n_items + np.arange(self.n_items)]
            above = above * self.n_items + shown[:, k]
        return table

    def sample(self, n: int, random_state: RandomState = None, policy: PlackettLuce | None = None) -> SlateLog:
        """n rounds filled by a policy; None is ``logging``."""
        rng, chosen = np.random.default_rng(random_state), self.logging if policy is None else policy
        context = rng.integers(0, self.n_contexts, n).astype(np.intp)
        slates = chosen.draw(context, rng)
        rewards = (rng.random(slates.shape) < self.mean(context, slates)).astype(np.float64)
        conditional, marginal = chosen.conditional(context, slates), chosen.marginal(context, slates)
        return SlateLog(context, slates, rewards, conditional, marginal)

    def _means(self) -> Array:
        """(C, S, K) exact reward probabilities of every slate in every context."""
        every = self.space.all()
        return np.array([self.mean(np.full(len(every), c), every) for c in range(self.n_contexts)])
