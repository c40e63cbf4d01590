"""What a policy that fills slates is worth, from slates that another policy filled.

A round shows K items, position 1 at the top, and each position k has a reward r_k (a click, an order). The value is
E[Σ_k r_k] under the candidate. The estimators differ in what they assume about how people look at a slate, and the
less a reward may depend on, the fewer ratios of probabilities are multiplied:

=================  =========================================  =============================================
estimator          weight of r_k                              unbiased where r_k depends on
=================  =========================================  =============================================
standard_ips       Π_{j ≤ K} π(a_j | above) / e(a_j | above)  the whole slate
interaction_ips    Π_{j ≤ k} π(a_j | above) / e(a_j | above)  the items at and above position k
independent_ips    π_k(a_k) / e_k(a_k), marginal              the item at position k alone
cascade_dr         as interaction_ips, around a model         the items at and above position k
=================  =========================================  =============================================

Positions that count unequally (DCG) are weighted beforehand: pass r_k / log2(k + 1), and q̂ in that unit.

Sources: independent: Li, Abbasi-Yadkori, Kveton, Muthukrishnan, Vinay and Wen (2018); interaction: McInerney, Brost,
Chandar, Mehrotra and Carterette (2020); cascade-DR: Kiyohara, Saito, Matsuhiro, Narita, Shimizu and Yamamoto (2022).
"""

from __future__ import annotations

from numpy.typing import ArrayLike

from persuadable.value.ope.intervals.influence import Ratios
from persuadable.value.ope.stepwise import Steps, doubly_robust, prefix_weights, step_terms
from persuadable.value.ope.terms import Terms

__all__ = ["cascade_dr", "independent_ips", "interaction_ips", "prefix_weights", "standard_ips"]


def standard_ips(
    rewards: ArrayLike, candidate: ArrayLike, logged: ArrayLike, *, self_normalised: bool = False
) -> Terms:
    """mean(w_K · Σ_k r_k), w_K the ratio of the probabilities of the whole slate.

    Args:
        rewards: (n, K) reward of each position.
        candidate: (n, K) the candidate's probability of the item shown at k, given the items above it.
        logged: (n, K) the same of the policy that was logged.
        self_normalised: divide by mean(w_K).

    Raises:
        DataError: arrays that do not match or hold what is no reward or probability.
    """
    steps = Steps.of(rewards, logged)
    whole = steps.weights(candidate)[:, -1]
    return Terms(whole * steps.rewards.sum(axis=1), weight=whole if self_normalised else None)


def independent_ips(
    rewards: ArrayLike, candidate: ArrayLike, logged: ArrayLike, *, self_normalised: bool = False
) -> Terms | Ratios:
    """Σ_k mean(w_k · r_k), w_k the ratio of the marginal probabilities of the item at position k.

    Args:
        rewards: (n, K) reward of each position.
        candidate: (n, K) the candidate's probability of showing this item at k, whatever is shown elsewhere.
        logged: (n, K) the same of the policy that was logged.
        self_normalised: divide by the mean weight of each position.

    Raises:
        DataError: arrays that do not match or hold what is no reward or probability.
        PropensityError: normalised at a position where every weight is 0.
    """
    steps = Steps.of(rewards, logged)
    weight = steps.ratios(candidate)
    return step_terms(weight * steps.rewards, weight, normalise=self_normalised)


def interaction_ips(
    rewards: ArrayLike, candidate: ArrayLike, logged: ArrayLike, *, self_normalised: bool = False
) -> Terms | Ratios:
    """Σ_k mean(w_k · r_k), w_k the ratio of the probabilities of the items at and above position k (RIPS).

    Args:
        rewards: (n, K) reward of each position.
        candidate: (n, K) the candidate's probability of the item shown at k, given the items above it.
        logged: (n, K) the same of the policy that was logged.
        self_normalised: divide by the mean weight of each position.

    Raises:
        DataError: arrays that do not match or hold what is no reward or probability.
        PropensityError: normalised at a position where every weight is 0.
    """
    steps = Steps.of(rewards, logged)
    weight = steps.weights(candidate)
    return step_terms(weight * steps.rewards, weight, normalise=self_normalised)


def cascade_dr(
    rewards: ArrayLike,
    slates: ArrayLike,
    candidate: ArrayLike,
    logged: ArrayLike,
    q_hat: ArrayLike,
    *,
    self_normalised: bool = False,
) -> Terms | Ratios:
    """V̂_1 + Σ_k w_k (r_k − Q̂_k + V̂_{k+1}), w_k as in ``interaction_ips`` and V̂_k = Σ_a π_k(a) Q̂_k(a).

    Unbiased for any q̂ that was not fitted on these rounds; the nearer q̂ is to the truth, the narrower. A bad q̂ makes
    it wider than ``interaction_ips``.

    Args:
        rewards: (n, K) reward of each position.
        slates: (n, K) codes of the items shown.
        candidate: (n, K, A) the candidate's probability of every item at k, given the items shown above it.
        logged: (n, K) probability of the item that was shown at k, given those above it.
        q_hat: (n, K, A) expected Σ_{j ≥ k} r_j were this item shown at k below the items shown above it, and the rest
            of the slate filled by the candidate.
        self_normalised: divide by the mean weight of each position.

    Raises:
        DataError: arrays that do not match or hold what is no reward, item, probability or prediction.
        PropensityError: normalised at a position where every weight is 0.
    """
    steps = Steps.of(rewards, logged)
    policy, q = steps.policy(candidate), steps.table(q_hat, "q_hat")
    weight = steps.weights(steps.done(policy, slates, "slates"))
    q_shown, value = steps.done(q, slates, "slates"), (policy * q).sum(axis=2)
    return doubly_robust(steps.rewards, weight, q_shown, value, normalise=self_normalised)
