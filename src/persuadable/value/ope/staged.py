"""What a policy of several stages is worth, from rounds in which another policy decided the stages.

A round has T stages (a mail, a reminder, a call); at stage t the action a_t is chosen from all that is known by then
and has a reward r_t. The value is E[Σ_t γ^(t−1) r_t] under the candidate, γ the discount. With w_t the product of
the ratios π(a_j | x_j) / e(a_j | x_j) up to stage t:

=================  =========================================================  =====================================
estimator          value                                                      self-normalised
=================  =========================================================  =====================================
trajectory_is      mean(w_T · Σ_t γ^(t−1) r_t)                                weighted IS: over mean(w_T)
per_decision_is    Σ_t γ^(t−1) mean(w_t r_t)                                  per-decision WIS: over each mean(w_t)
sequential_dr      V̂_1 + Σ_t γ^(t−1) w_t (r_t − Q̂_t + γ V̂_{t+1})              weighted DR: over each mean(w_t)
=================  =========================================================  =====================================

All are unbiased where the logged probabilities are right and positive wherever the candidate's are; the
self-normalised forms are consistent and, with many stages, far less noisy. A round that ends early (``length``) goes
on with reward 0 and ratio 1.

Sources: Precup, Sutton and Singh (2000); per-decision WIS: Thomas (2015), "consistent weighted per-decision"; DR:
Jiang and Li (2016); weighted DR: Thomas and Brunskill (2016).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from persuadable.errors import ParameterError
from persuadable.value.estimate import Floats
from persuadable.value.ope.intervals.influence import Ratios
from persuadable.value.ope.stepwise import Steps, doubly_robust, prefix_weights, step_terms
from persuadable.value.ope.terms import Terms

__all__ = ["per_decision_is", "prefix_weights", "sequential_dr", "trajectory_is"]


def trajectory_is(
    rewards: ArrayLike,
    candidate: ArrayLike,
    logged: ArrayLike,
    *,
    discount: float = 1.0,
    length: ArrayLike | None = None,
    self_normalised: bool = False,
) -> Terms:
    """mean(w_T · Σ_t γ^(t−1) r_t): a round counts by how much likelier the candidate was to go all its way.

    Args:
        rewards: (n, T) reward of each stage.
        candidate: (n, T) the candidate's probability of the action taken at each stage.
        logged: (n, T) the probability with which it was taken.
        discount: γ, what a reward is worth one stage later, in [0, 1].
        length: (n,) stages of each round, where they differ.
        self_normalised: divide by mean(w_T), the weighted importance sampling estimator.

    Raises:
        DataError: arrays that do not match or hold what is no reward or probability.
        ParameterError: a discount outside [0, 1].
    """
    steps = Steps.of(rewards, logged, length)
    whole = steps.weights(candidate)[:, -1]
    returns = steps.rewards @ _discounts(discount, steps)
    return Terms(whole * returns, weight=whole if self_normalised else None)


def per_decision_is(
    rewards: ArrayLike,
    candidate: ArrayLike,
    logged: ArrayLike,
    *,
    discount: float = 1.0,
    length: ArrayLike | None = None,
    self_normalised: bool = False,
) -> Terms | Ratios:
    """Σ_t γ^(t−1) mean(w_t r_t): a reward counts by the decisions up to it, not by those that follow.

    Args:
        rewards: (n, T) reward of each stage.
        candidate: (n, T) the candidate's probability of the action taken at each stage.
        logged: (n, T) the probability with which it was taken.
        discount: γ, what a reward is worth one stage later, in [0, 1].
        length: (n,) stages of each round, where they differ.
        self_normalised: divide by the mean weight of each stage, the per-decision WIS estimator.

    Raises:
        DataError: arrays that do not match or hold what is no reward or probability.
        ParameterError: a discount outside [0, 1].
        PropensityError: normalised at a stage where every weight is 0.
    """
    steps = Steps.of(rewards, logged, length)
    weight = steps.weights(candidate)
    return step_terms(weight * steps.rewards * _discounts(discount, steps), weight, normalise=self_normalised)


def sequential_dr(
    rewards: ArrayLike,
    actions: ArrayLike,
    candidate: ArrayLike,
    logged: ArrayLike,
    q_hat: ArrayLike,
    *,
    discount: float = 1.0,
    length: ArrayLike | None = None,
    self_normalised: bool = False,
) -> Terms | Ratios:
    """V̂_1 + Σ_t γ^(t−1) w_t (r_t − Q̂_t + γ V̂_{t+1}), V̂_t = Σ_a π(a | x_t) Q̂_t(a).

    The recursion V_DR = V̂_t + w_t/w_{t−1} (r_t + γ V_DR' − Q̂_t) of Jiang and Li (2016), written out. Unbiased for any
    q̂ that was not fitted on these rounds; a bad q̂ makes it wider than ``per_decision_is``.

    Args:
        rewards: (n, T) reward of each stage.
        actions: (n, T) codes of the actions taken.
        candidate: (n, T, A) the candidate's probability of every action at each stage; 0 for those a stage lacks.
        logged: (n, T) the probability with which the action was taken.
        q_hat: (n, T, A) expected Σ_{j ≥ t} γ^(j−t) r_j were this action taken at stage t and the candidate followed
            from then on.
        discount: γ, what a reward is worth one stage later, in [0, 1].
        length: (n,) stages of each round, where they differ.
        self_normalised: divide by the mean weight of each stage, the weighted DR estimator.

    Raises:
        DataError: arrays that do not match or hold what is no reward, action, probability or prediction.
        ParameterError: a discount outside [0, 1].
        PropensityError: normalised at a stage where every weight is 0.
    """
    steps = Steps.of(rewards, logged, length)
    policy, q = steps.policy(candidate), steps.table(q_hat, "q_hat")
    weight = steps.weights(steps.done(policy, actions, "actions"))
    now = _discounts(discount, steps)
    q_taken, value = steps.done(q, actions, "actions"), (policy * q).sum(axis=2)
    return doubly_robust(steps.rewards * now, weight, q_taken * now, value * now, normalise=self_normalised)


def _discounts(discount: float, steps: Steps) -> Floats:
    """(T,) γ^(t−1)."""
    if not 0 <= discount <= 1:
        raise ParameterError(f"discount is {discount!r}", remedy="Pass a number from 0 to 1, 1 for no discount.")
    return np.asarray(float(discount) ** np.arange(steps.rewards.shape[1]))
