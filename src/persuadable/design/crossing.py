"""How probably an experiment that is looked at several times crosses its boundaries."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from persuadable.errors import ParameterError

__all__ = ["CUT", "check_fractions", "first_crossings", "solve_boundaries"]

Floats = NDArray[np.float64]

# Boundaries are cut here: P(|Z| > 8) is 1e-15, less than the integration can tell.
CUT = 8.0
# Nodes of a Gauss–Legendre panel, and its width in standard deviations of the narrower neighbouring step.
NODES, PANEL = 12, 3.0
CLOSEST = 1e-3


def check_fractions(fractions: Sequence[float]) -> tuple[float, ...]:
    """Information fractions of the looks, rising within (0, 1].

    Raises:
        ParameterError: none, outside (0, 1], not rising, or looks closer than a thousandth of the whole.
    """
    told = tuple(float(t) for t in fractions)
    steps = [later - earlier for earlier, later in pairwise((0.0, *told))]
    if not told or not all(step >= CLOSEST * (1 - 1e-9) for step in steps) or told[-1] > 1 + 1e-12:
        raise ParameterError(
            f"The looks are at {list(told)} of the planned units",
            remedy="Pass fractions that rise from above 0 to at most 1 by 0.001 or more, such as (0.25, 0.5, 0.75, 1).",
        )
    return told


def first_crossings(fractions: Sequence[float], boundaries: Sequence[float], drift: float = 0.0) -> Floats:
    """(K, 2) probabilities that |Z_k| first exceeds its boundary at look k, upwards and downwards.

    Z_k = B(t_k)/√t_k, with B a Brownian motion of drift ``drift``: the effect in standard errors of the whole
    experiment. The density of B(t_k) among paths still inside is carried from look to look by numerical integration
    (Armitage, McPherson and Rowe 1969; Jennison and Turnbull 2000, chapter 19).

    Args:
        fractions: (K,) information fractions t_1 < … < t_K ≤ 1.
        boundaries: (K,) in standard errors.
        drift: E[Z] at t = 1.
    """
    times = check_fractions(fractions)
    found, inside = [], _Inside(drift)
    for k, boundary in enumerate(boundaries):
        found.append(inside.leaving(times[k], boundary))
        if k + 1 < len(times):
            inside = inside.carried(times[k], boundary, times[k + 1])
    return np.array(found)


def solve_boundaries(fractions: Sequence[float], spend: Sequence[float]) -> tuple[float, ...]:
    """(K,) boundaries at which |Z_k| is first exceeded with probability spend_k under no effect, cut at 8."""
    times = check_fractions(fractions)
    return tuple(_solved(times, spend))


def _solved(times: tuple[float, ...], spend: Sequence[float]) -> Iterator[float]:
    from scipy.optimize import brentq

    inside = _Inside(0.0)
    for k, (time, wanted) in enumerate(zip(times, spend, strict=True)):

        def excess(z: float, at: float = time, now: _Inside = inside, goal: float = wanted) -> float:
            return sum(now.leaving(at, z)) - goal

        boundary = CUT if excess(CUT) >= 0 else float(brentq(excess, 0.0, CUT, xtol=1e-12, rtol=1e-14))
        yield boundary
        if k + 1 < len(times):
            inside = inside.carried(time, boundary, times[k + 1])


class _Inside:
    """Where the paths are that have not crossed: the start, or a density on quadrature nodes at an earlier look."""

    def __init__(
        self, drift: float, time: float = 0.0, nodes: Floats | None = None, mass: Floats | None = None
    ) -> None:
        self.drift, self.time = drift, time
        self.nodes = np.zeros(1) if nodes is None else nodes
        self.mass = np.ones(1) if mass is None else mass  # density times quadrature weight

    def leaving(self, time: float, boundary: float) -> tuple[float, float]:
        """Probabilities of lying above and below the boundaries at ``time``."""
        step = time - self.time
        centre, sd, limit = self.nodes + self.drift * step, math.sqrt(step), boundary * math.sqrt(time)
        return float(self.mass @ ndtr((centre - limit) / sd)), float(self.mass @ ndtr((-limit - centre) / sd))

    def carried(self, time: float, boundary: float, after: float) -> _Inside:
        """The paths still inside at ``time``, on nodes close enough for the step to ``after``."""
        step, root = time - self.time, math.sqrt(time)
        low = max(-boundary * root, self.drift * time - CUT * root)
        high = min(boundary * root, self.drift * time + CUT * root)
        if low >= high:  # the drift has carried every path out
            return _Inside(self.drift, time, np.zeros(1), np.zeros(1))
        nodes, weights = _panels(low, high, math.sqrt(min(step, after - time)))
        sd = math.sqrt(step)
        away = (nodes[:, None] - (self.nodes + self.drift * step)) / sd
        density = np.exp(-0.5 * away**2) @ self.mass / (sd * math.sqrt(2 * math.pi))
        return _Inside(self.drift, time, nodes, density * weights)


def _panels(low: float, high: float, sd: float) -> tuple[Floats, Floats]:
    """Nodes and weights of a composite Gauss–Legendre rule on [low, high], four nodes to a standard deviation."""
    unit, weight = _legendre()
    edges = np.linspace(low, high, math.ceil((high - low) / (PANEL * sd)) + 1)
    half = (edges[1] - edges[0]) / 2
    nodes = (edges[:-1, None] + half) + half * unit
    return nodes.ravel(), np.tile(half * weight, edges.size - 1)


@lru_cache(maxsize=1)
def _legendre() -> tuple[Floats, Floats]:
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    return nodes, weights
