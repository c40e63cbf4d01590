"""The arithmetic of the learners: pseudo-outcomes and weights, as functions of arrays."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "action_scores",
    "doubly_robust_score",
    "imputed_effect",
    "residual_target",
    "residual_weight",
    "x_combination",
]

Vector = NDArray[np.float64]
Mask = NDArray[np.bool_]


def action_scores(y: Vector, action: NDArray[np.integer], propensity: Vector, mu: Vector | None = None) -> Vector:
    """μ_a + 1{A = a}(y − μ_a)/e_a, (n, A): scores whose conditional means are E[y | x, a], with μ = 0 where None.

    A policy's value is the mean of Σ_a π_a · score_a, which is why a policy can be learned straight from them (Robins,
    Rotnitzky, Zhao 1994; Athey, Wager 2021). Where e_a is 0 the score is μ_a alone.
    """
    taken = action[:, None].astype(np.intp)
    scores = np.zeros(propensity.shape) if mu is None else np.array(mu, dtype=np.float64)
    residual = y - np.take_along_axis(scores, taken, axis=1)[:, 0]
    scores[np.arange(y.shape[0]), taken[:, 0]] += residual / np.take_along_axis(propensity, taken, axis=1)[:, 0]
    return scores


def doubly_robust_score(
    y: Vector, treated: Mask, control: Mask, mu1: Vector, mu0: Vector, e1: Vector, e0: Vector
) -> Vector:
    """Γ = μ₁ − μ₀ + 1{treated}(y − μ₁)/e₁ − 1{control}(y − μ₀)/e₀, (n,).

    Its mean given x is the effect if either the responses or the propensities are right
    (Robins, Rotnitzky, Zhao 1994). Rows of other arms keep μ₁ − μ₀.
    """
    score: Vector = mu1 - mu0
    score = score + np.where(treated, (y - mu1) / e1, 0.0) - np.where(control, (y - mu0) / e0, 0.0)
    return score


def residual_target(y: Vector, treated: Mask, mu1: Vector, mu0: Vector, p: Vector) -> Vector:
    """R-learner's target (y − m)/(a − p) with m = p·μ₁ + (1 − p)·μ₀, (n,).

    Regressed with weight (a − p)² it minimises Robinson's loss Σ((y − m) − (a − p)τ(x))²
    (Nie, Wager 2021, eq. 4).
    """
    target: Vector = (y - (p * mu1 + (1 - p) * mu0)) / (treated - p)
    return target


def residual_weight(treated: Mask, p: Vector) -> Vector:
    """(a − p)², (n,): the R-learner's weight, and the one that makes the X-learner a single regression.

    Given x the treated carry the mass p(1 − p)² and the control (1 − p)p², together the overlap p(1 − p).
    A regression of the imputed effects so weighted has the solution p·τ_control(x) + (1 − p)·τ_treated(x),
    which is what the X-learner combines from two (Künzel et al. 2019, eq. 9 with g = p).
    """
    weight: Vector = (treated - p) ** 2
    return weight


def imputed_effect(y: Vector, treated: Mask, mu1: Vector, mu0: Vector) -> Vector:
    """X-learner's imputed effects: y − μ₀ for the treated, μ₁ − y for the control, (n,) (Künzel et al. 2019)."""
    return np.where(treated, y - mu0, mu1 - y)


def x_combination(tau_control: Vector, tau_treated: Vector, p: Vector | float) -> Vector:
    """p·τ_control + (1 − p)·τ_treated, (n,), of p (n,) or the same for all (Künzel et al. 2019, eq. 9).

    With n rows of noise σ² about x, a share p of them treated, its noise is p²·σ₀²/((1 − p)n) + (1 − p)²·σ₁²/(pn) in
    Künzel's choice g = p; any g may take p's place, and g = 1 − p has the least noise where σ₀ = σ₁: σ²/n, against
    (p³ + (1 − p)³)/(p(1 − p))·σ²/n for g = p, 4.8 times as much at p = 0.85. What g = 1 − p costs is the error of the
    control's response, which enters times p rather than 1 − p.
    """
    combined: Vector = p * tau_control + (1 - p) * tau_treated
    return combined
