"""What may be believed of a unit's true effect, given its estimate: empirical Bayes with a prior from held-out rows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["LARGEST", "Beliefs", "learned_beliefs"]

Floats = NDArray[np.float64]

POINTS: Final = 64
MOST_POINTS: Final = 1_024
ROWS: Final = 20_000  # to learn the prior from: 64 masses need no more
STEPS: Final = 100  # of EM; so early a stop keeps the prior smooth
TAIL: Final = 5e-4
LARGEST: Final = 1e100  # of a number that is taken: its square is finite
LEAST: Final = 1e-12  # of a prior mass: an estimate far from all others must still be believed something of
# A spread of 20 refits is itself only known within a sixth, and calibration maps make steps on which nothing spreads.
OWN: Final = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class Beliefs:
    """A prior of true net effects on a grid, and how noisy estimates of them are.

    Attributes:
        grid: (k,) net effects, evenly spaced and rising.
        prior: (k,) how frequent each is; sums to 1.
        variance: mean squared standard error of held-out estimates.
    """

    grid: Floats
    prior: Floats
    variance: float

    def posterior(self, net: Floats, stderr: Floats) -> Floats:
        """(n, k) p(τ | τ̂) ∝ prior(τ)·φ((τ̂ − τ)/s), where s² is the mean of the unit's own squared error and all's."""
        doubled = 2.0 * (OWN * stderr * stderr + (1.0 - OWN) * self.variance)
        away = net[:, None] - self.grid
        away *= away
        away /= -doubled[:, None]
        away -= away.max(axis=1)[:, None]  # far beyond the grid every density would be 0
        p = np.exp(away, out=away)
        p *= self.prior
        p /= p.sum(axis=1)[:, None]
        return p

    def below(self, limit: Floats | float) -> Floats:
        """(…, k) share of each grid point's cell that lies below a limit (…)."""
        step = self.grid[1] - self.grid[0]
        return np.asarray(np.clip((np.asarray(limit)[..., None] - self.grid) / step + 0.5, 0.0, 1.0))

    @classmethod
    def read(cls, grid: Floats, prior: Floats, variance: Any) -> Beliefs:
        """Beliefs back from what was saved.

        Raises:
            ValueError: anything that is no even grid, no distribution, or no variance above 0.
        """
        if not (grid.ndim == prior.ndim == 1 and grid.dtype == prior.dtype == np.float64):
            raise ValueError("a prior of another shape or type")
        if not (2 <= grid.size == prior.size <= MOST_POINTS and (np.abs(grid) < LARGEST).all()):
            raise ValueError("a prior's grid is of another size, or out of range")
        steps = np.diff(grid)
        if not (steps[0] > 0 and np.allclose(steps, steps[0], rtol=1e-6, atol=0.0)):
            raise ValueError("a prior's grid is not even")
        if not ((prior >= LEAST / 2).all() and math.isclose(float(prior.sum()), 1.0, rel_tol=1e-6)):
            raise ValueError("a prior is no distribution")
        if not (type(variance) is float and 1.0 / LARGEST <= variance < math.inf):
            raise ValueError("a mean squared error is no number above 0")
        return cls(grid, prior, variance)


def learned_beliefs(net: Floats, stderr: Floats, weight: Floats | None = None) -> Beliefs:
    """The prior under which held-out estimates are likeliest: nonparametric maximum likelihood on a grid.

    Kiefer, Wolfowitz 1956; by EM as in Jiang, Zhang 2009, stopped early. It needs no shape: where hardly anybody is
    moved it has a spike at 0, and an estimate above the threshold with a wide error is then taken for what it likely
    is, a unit of the spike.

    Args:
        net: (n,) estimated net effects of rows that did not fit the model, finite.
        stderr: (n,) their standard errors, not all 0.
        weight: (n,) of the rows.
    """
    w = np.ones(net.size) if weight is None else weight
    variance = float(np.average(stderr * stderr, weights=w))
    rows = np.random.default_rng(0).permutation(net.size)[:ROWS]
    lower, upper = np.quantile(net[rows], [TAIL, 1.0 - TAIL])
    pad = math.sqrt(variance)
    grid = np.linspace(lower - pad, upper + pad, POINTS)
    flat = Beliefs(grid, np.full(POINTS, 1.0 / POINTS), variance)
    likelihood = flat.posterior(net[rows], stderr[rows])  # up to a factor of its own for each row
    share, prior = w[rows] / w[rows].sum(), flat.prior
    for _ in range(STEPS):
        prior = prior * (likelihood.T @ (share / (likelihood @ prior)))
    prior = np.maximum(prior, LEAST)
    return Beliefs(grid, prior / prior.sum(), variance)
