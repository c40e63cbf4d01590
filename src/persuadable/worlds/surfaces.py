"""Surfaces: what the outcome and the effects look like over the features.

Every function takes the numeric features of n units in role order, ``x`` of shape (n, ≥ 6), and ``g``, a score in
[−1, 1] read off their category (zeros where a world has none), and returns a raw surface of shape (n,). Worlds
centre and scale these; nothing here draws random numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["MIN_NUMBERS", "SURFACES", "Surface"]

Array = NDArray[np.float64]

MIN_NUMBERS: Final = 6


@dataclass(frozen=True, slots=True)
class Surface:
    """A baseline and an effect over the features.

    Attributes:
        baseline: (x, g, weights) -> (n,) raw surface of the outcome under control.
        effect: (x, g, weights) -> (n,) raw surface of one treatment's effect.
        centred: whether the effect is shifted to the mean the world asks for; if not, its zeros stay zeros.
    """

    baseline: Callable[[Array, Array, Array], Array]
    effect: Callable[[Array, Array, Array], Array]
    centred: bool


def linear(x: Array, g: Array, weights: Array) -> Array:
    """Σ_j w_j x_j + w_d g."""
    return np.asarray(x @ weights[:-1] + weights[-1] * g)


def nonlinear_baseline(x: Array, g: Array, weights: Array) -> Array:
    """A wave, a bounded product, a bowl, a step and the category."""
    wave = np.sin(1.5 * x[:, 0])
    product = np.tanh(x[:, 1]) * np.tanh(x[:, 2])
    bowl = np.minimum(x[:, 5] ** 2, 4.0)
    return np.asarray(wave + 1.2 * product + 0.4 * bowl + 0.8 * (x[:, 3] > 0.5) + 0.5 * g)


def nonlinear_effect(x: Array, g: Array, weights: Array) -> Array:
    """A smooth saturating slope, a region cut out by two thresholds, a slope in half of the space, and the category."""
    slope = np.tanh(1.5 * x[:, 0])
    region = 1.5 * ((x[:, 1] > 0.0) & (x[:, 2] > -0.5))
    half = np.where(x[:, 0] > 0.0, np.clip(x[:, 3], -2.0, 2.0), 0.0)
    return np.asarray(slope + region + 0.7 * half + 0.5 * g)


def sparse_effect(x: Array, g: Array, weights: Array) -> Array:
    """Positive for the tenth of the units in one corner, exactly zero for all others."""
    corner = (x[:, 1] > 0.5) & (x[:, 2] > 0.4)
    return np.asarray(np.where(corner, 1.0 + 0.5 * np.tanh(x[:, 0]), 0.0))


def no_effect(x: Array, g: Array, weights: Array) -> Array:
    """Zero for everybody."""
    return np.zeros(len(x))


SURFACES: Final[dict[str, Surface]] = {
    "linear": Surface(linear, linear, centred=True),
    "nonlinear": Surface(nonlinear_baseline, nonlinear_effect, centred=True),
    "sparse": Surface(nonlinear_baseline, sparse_effect, centred=False),
    "none": Surface(nonlinear_baseline, no_effect, centred=False),
}
