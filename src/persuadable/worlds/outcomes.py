"""Outcome families: from a latent score to means, variances and draws.

A family turns the latent score η(x, a) of a unit under an action into the law of its outcome:

======  ===========================  ============================================  =====================
family  law                          mean                                          noise is
======  ===========================  ============================================  =====================
binary  Bernoulli(p)                 p = 1 / (1 + e^−η)                            unused
count   Poisson or negative          μ = e^η                                       dispersion k: variance
        binomial                                                                   μ + k μ²
money   0, or lognormal with         p m(x), p = 1 / (1 + e^−η)                    sd of the log amount
        probability p
real    normal                       η                                             standard deviation
======  ===========================  ============================================  =====================
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

__all__ = ["FAMILIES", "Family", "logistic_intercept"]

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Family:
    """The law of an outcome given the latent score.

    ``amount`` is the mean amount m(x) of the money family, broadcastable to the scores, and 1 for the others.

    Attributes:
        intercept: (baseline, base rate) -> the constant that makes the mean response under control the base rate.
        mean: (η, amount) -> E[Y].
        variance: (η, amount, noise) -> Var[Y].
        positive: (η, noise) -> P(Y > 0); None where the outcome is not a response.
        draw: (η, amount, noise, rng) -> Y.
        defaults: base rate, effect scale and noise where the world names none.
    """

    intercept: Callable[[Array, float], float]
    mean: Callable[[Array, Array], Array]
    variance: Callable[[Array, Array, float], Array]
    positive: Callable[[Array, float], Array] | None
    draw: Callable[[Array, Array, float, np.random.Generator], Array]
    defaults: tuple[float, float, float]


def logistic_intercept(baseline: Array, rate: float) -> float:
    """The α with mean expit(α + baseline) = rate, by bisection to 1e−12."""
    spread = float(np.abs(baseline).max())
    centre = float(np.log(rate) - np.log1p(-rate))
    low, high = centre - spread - 1.0, centre + spread + 1.0
    while high - low > 1e-12 * max(1.0, abs(centre)):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if float(expit(middle + baseline).mean()) < rate else (low, middle)
    return 0.5 * (low + high)


def _log_intercept(baseline: Array, rate: float) -> float:
    return float(np.log(rate) - np.log(np.exp(baseline).mean()))


def _real_intercept(baseline: Array, rate: float) -> float:
    return float(rate - baseline.mean())


def _draw_binary(eta: Array, amount: Array, noise: float, rng: np.random.Generator) -> Array:
    return np.asarray(rng.random(eta.shape) < expit(eta), dtype=np.float64)


def _draw_count(eta: Array, amount: Array, noise: float, rng: np.random.Generator) -> Array:
    rate = np.exp(eta)
    if noise > 0.0:
        rate = rate * rng.gamma(1.0 / noise, noise, size=eta.shape)
    counts: Array = rng.poisson(rate).astype(np.float64)
    return counts


def _draw_money(eta: Array, amount: Array, noise: float, rng: np.random.Generator) -> Array:
    pays = rng.random(eta.shape) < expit(eta)
    spend = np.exp(noise * rng.standard_normal(eta.shape) - 0.5 * noise**2)
    return np.asarray(np.where(pays, amount * spend, 0.0))


def _draw_real(eta: Array, amount: Array, noise: float, rng: np.random.Generator) -> Array:
    return np.asarray(eta + noise * rng.standard_normal(eta.shape))


def _variance_money(eta: Array, amount: Array, noise: float) -> Array:
    p = expit(eta)
    return np.asarray(amount**2 * (p * np.exp(noise**2) - p**2))


def _positive_count(eta: Array, noise: float) -> Array:
    rate = np.exp(eta)
    return np.asarray(-np.expm1(-rate if noise == 0.0 else -np.log1p(noise * rate) / noise))


FAMILIES: Final[dict[str, Family]] = {
    "binary": Family(
        intercept=logistic_intercept,
        mean=lambda eta, amount: expit(eta),
        variance=lambda eta, amount, noise: expit(eta) * expit(-eta),
        positive=lambda eta, noise: expit(eta),
        draw=_draw_binary,
        defaults=(0.1, 0.5, 0.0),
    ),
    "count": Family(
        intercept=_log_intercept,
        mean=lambda eta, amount: np.exp(eta),
        variance=lambda eta, amount, noise: np.exp(eta) + noise * np.exp(2.0 * eta),
        positive=_positive_count,
        draw=_draw_count,
        defaults=(1.0, 0.3, 0.0),
    ),
    "money": Family(
        intercept=logistic_intercept,
        mean=lambda eta, amount: expit(eta) * amount,
        variance=_variance_money,
        positive=lambda eta, noise: expit(eta),
        draw=_draw_money,
        defaults=(0.1, 0.5, 0.8),
    ),
    "real": Family(
        intercept=_real_intercept,
        mean=lambda eta, amount: eta,
        variance=lambda eta, amount, noise: np.full(eta.shape, noise**2),
        positive=None,
        draw=_draw_real,
        defaults=(0.0, 0.5, 1.0),
    ),
}
