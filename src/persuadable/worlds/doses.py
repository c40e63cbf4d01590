"""A world of doses, small enough that the value of every policy is known exactly."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri

from persuadable.spaces import Continuous
from persuadable.worlds.arguments import RandomState, check_between
from persuadable.worlds.outcomes import Array

__all__ = ["DoseLog", "Doses"]

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(64)


@dataclass(frozen=True, slots=True, eq=False)
class DoseLog:
    """Rounds in which a dose was drawn.

    Attributes:
        x: (n,) what was known of the person, in [0, 1].
        dose: (n,) dose given.
        outcome: (n,) what came of it.
        density: (n,) density, per unit of dose, with which the dose was drawn.
    """

    x: Array
    dose: Array
    outcome: Array
    density: Array


@dataclass(frozen=True, slots=True)
class Doses:
    """A dose t in [0, upper], best at another place for every person, and harmful beyond.

    A person is a number x, uniform on [0, 1]. The mean outcome is

        μ(x, t) = 1 + x − curvature · ((t − best(x)) / upper)²,   best(x) = upper · (0.2 + 0.6 x),

    with normal noise. A share ``floor`` of the doses was drawn uniformly, the others near upper · (0.7 − 0.4 x), too
    high for those who need little: from a normal of standard deviation ``spread`` · upper, cut off at the bounds.

    Args:
        upper: greatest dose, the least is 0.
        curvature: outcome lost at a distance of ``upper`` from the best dose.
        noise: standard deviation of the outcome given x and t.
        spread: how widely doses scatter, as a share of ``upper``.
        floor: share of doses drawn uniformly, in (0, 1]; density is at least floor / upper everywhere.

    Raises:
        ParameterError: an argument out of range.
    """

    upper: float = 10.0
    curvature: float = 4.0
    noise: float = 0.5
    spread: float = 0.2
    floor: float = 0.3

    def __post_init__(self) -> None:
        check_between("Doses", upper=(self.upper, 1e-6, 1e6), curvature=(self.curvature, 0, 1e6))
        check_between("Doses", noise=(self.noise, 0, 1e6), spread=(self.spread, 0.01, 10), floor=(self.floor, 0.001, 1))

    @property
    def space(self) -> Continuous:
        """Doses from 0 to ``upper``."""
        return Continuous(0.0, self.upper)

    def best(self, x: ArrayLike) -> Array:
        """(n,) the best dose for each person."""
        return np.asarray(self.upper * (0.2 + 0.6 * np.asarray(x, dtype=np.float64)))

    def mean(self, x: ArrayLike, dose: ArrayLike) -> Array:
        """(n,) exact mean outcome of a dose."""
        t, who = np.asarray(dose, dtype=np.float64), np.asarray(x, dtype=np.float64)
        return np.asarray(1.0 + who - self.curvature * ((t - self.best(who)) / self.upper) ** 2)

    def density(self, x: ArrayLike, dose: ArrayLike) -> Array:
        """(n,) density, per unit of dose, with which a person is given a dose."""
        lowest, highest = self._cuts(x)
        u = (np.asarray(dose, dtype=np.float64) - self._centre(x)) / (self.spread * self.upper)
        near = np.exp(-0.5 * u * u) / np.sqrt(2 * np.pi) / (self.spread * self.upper * (highest - lowest))
        return np.asarray(self.floor / self.upper + (1 - self.floor) * near)

    def value(self, policy: Callable[[Array], ArrayLike]) -> float:
        """E[μ(x, τ(x))] of a policy τ that gives x (n,) doses (n,), by 64 Gauss nodes: exact where τ is smooth."""
        x = 0.5 * (_NODES + 1)
        return float(0.5 * _WEIGHTS @ self.mean(x, policy(x)))

    def sample(self, n: int, random_state: RandomState = None) -> DoseLog:
        """n rounds."""
        rng = np.random.default_rng(random_state)
        x, u, uniform = rng.random(n), rng.random(n), rng.random(n) < self.floor
        lowest, highest = self._cuts(x)
        scattered = self._centre(x) + self.spread * self.upper * ndtri(lowest + u * (highest - lowest))
        dose = np.clip(np.where(uniform, u * self.upper, scattered), 0.0, self.upper)
        outcome = self.mean(x, dose) + self.noise * rng.standard_normal(n)
        return DoseLog(x, dose, outcome, self.density(x, dose))

    def _centre(self, x: ArrayLike) -> Array:
        return np.asarray(self.upper * (0.7 - 0.4 * np.asarray(x, dtype=np.float64)))

    def _cuts(self, x: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Share of the uncut normal below 0, and below ``upper``."""
        centre, sd = self._centre(x), self.spread * self.upper
        return ndtr(-centre / sd), ndtr((self.upper - centre) / sd)
