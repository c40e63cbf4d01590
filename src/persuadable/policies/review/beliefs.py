"""What may be believed of a unit's true effect, given its estimate: empirical Bayes with a prior from held-out rows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from persuadable.policies.base import Floats
from persuadable.policies.review.arguments import LARGEST, known, stored

__all__ = ["Beliefs", "Posterior", "learned_beliefs"]

POINTS: Final = 64
MOST_POINTS: Final = 1_024
GROUPS: Final = 5  # of units whose effects are known alike well
KEPT: Final = 30.0  # rows' worth of the whole, mixed into what a group shows
ROWS: Final = 10_000  # to learn the prior from: 64 masses need no more
STEPS: Final = 20  # of EM; so early a stop keeps the prior smooth
TAIL: Final = 5e-4
LEAST: Final = 1e-12  # of a prior mass: an estimate far from all others must still be believed something of
# A spread of 20 refits is itself only known within a sixth, and calibration maps make steps on which nothing spreads.
OWN: Final = 0.5
MOST_RATIO: Final = 1e4  # noise to spread, in variances; where all estimates are the same nothing is told of anybody


class Posterior(NamedTuple):
    """What is believed of n units: net effects are middle + scale·(η + Laplace noise of scale blur).

    Attributes:
        p: (n, k) of η on the grid.
        grid: (k,).
        mean: (n,) of η.
        middle, scale, blur: (n,).
    """

    p: Floats
    grid: Floats
    mean: Floats
    middle: Floats
    scale: Floats
    blur: Floats

    def beyond(self, limit: Floats) -> tuple[Floats, Floats, Floats]:
        """P(τ < limit), E[(limit − τ)⁺] and E[(τ − limit)⁺] for limits (n, m) or (1, m), (n, m) each."""
        scale, b = self.scale[:, None], self.blur[:, None, None]
        at = (limit - self.middle[:, None]) / scale
        away = at[:, :, None] - self.grid
        far = np.abs(away)
        tail = np.exp(far / -b)  # twice the mass of the noise that lies further off
        p = self.p[:, None, :]
        below = 0.5 + 0.5 * np.vecdot(np.copysign(1.0 - tail, away), p)
        tail *= b
        tail += far
        off = at - self.mean[:, None]
        spread = np.maximum(np.vecdot(tail, p), np.abs(off))  # as it is, but for rounding
        half = 0.5 * scale
        return below, half * (spread + off), half * (spread - off)


@dataclass(frozen=True, slots=True, eq=False)
class Beliefs:
    """A prior of true net effects that depends on how well they are known, and how noisy estimates of them are.

    Units whose estimates are noisy often are those that are moved much, so the prior is of net effects *given* the
    standard error s: m(s) + √V(s)·η, with η alike for all (CLOSE: Chen 2023, "Empirical Bayes when estimation precision
    predicts parameters"). m(s) and W(s), mean and variance of held-out estimates, are linear in s between ``error``.

    Noise: half-samples' refits spread by W + s² over the units and by s² about each, so s²/(W + s²) of W is noise, and
    V = W²/(W + s²) is not. That share is below 1 however large s.

    Missed: s is what varies between half-samples. What all of them miss alike, as trees do that are held back from
    following noise, no refit tells and hardly any outcome. On known truth it is mostly one to two times the variance
    that the posterior has by noise alone, so ``missed`` times that is added (``docs/review.md``). It is drawn from
    Laplace's distribution, since most units miss little.

    Attributes:
        grid: (k,) of η, evenly spaced and rising.
        prior: (k,) how frequent each is; sums to 1.
        error: (g,) standard errors, rising.
        middle, width: (g,) m and √W there.
        variance: mean squared standard error of held-out estimates.
        missed: what all refits miss, as a multiple of the posterior's variance.
    """

    grid: Floats
    prior: Floats
    error: Floats
    middle: Floats
    width: Floats
    variance: float
    missed: float

    def posterior(self, net: Floats, stderr: Floats) -> Posterior:
        """p(η | τ̂) ∝ prior(η)·φ((z − η)/r), z = (τ̂ − m)/√V and r² = s²/W, with s² the mean of own and all's."""
        middle, scale, ratio = self._standing(stderr)
        z = (net - middle) / scale
        width = self.grid[-1] - self.grid[0]
        # Far beyond the grid only its end is left to be believed; a number too large would leave nothing.
        z = np.minimum(np.maximum(z, self.grid[0] - width), self.grid[-1] + width)
        away = z[:, None] - self.grid
        away *= away
        away /= (-2.0 * ratio)[:, None]
        away -= away.max(axis=1)[:, None]
        p = np.exp(away, out=away)
        total = p @ self.prior
        p *= self.prior
        p /= total[:, None]
        return Posterior(p, self.grid, p @ self.grid, middle, scale, self._blur(ratio))

    def anybody(self, stderr: Floats) -> Posterior:
        """The same without an estimate: the prior."""
        middle, scale, ratio = self._standing(stderr)
        mean = np.full(stderr.size, self.prior @ self.grid)
        p = np.broadcast_to(self.prior, (stderr.size, self.prior.size))
        return Posterior(p, self.grid, mean, middle, scale, self._blur(ratio))

    def _standing(self, stderr: Floats) -> tuple[Floats, Floats, Floats]:
        """m, √V and r², (n,) each."""
        width = np.interp(stderr, self.error, self.width)
        ratio = (OWN * stderr * stderr + (1.0 - OWN) * self.variance) / (width * width)
        ratio = np.minimum(ratio, MOST_RATIO)
        return np.interp(stderr, self.error, self.middle), width / np.sqrt(1.0 + ratio), ratio

    def _blur(self, ratio: Floats) -> Floats:
        """Laplace's scale: of what is missed, and of a grid point that stands for its cell."""
        step = self.grid[1] - self.grid[0]
        return np.asarray(np.sqrt(0.5 * self.missed * ratio / (1.0 + ratio) + step * step / 24.0))

    def state(self) -> tuple[dict[str, float], dict[str, Floats]]:
        """(numbers, arrays)."""
        arrays = {name: getattr(self, name) for name in ("grid", "prior", "error", "middle", "width")}
        return {"variance": self.variance, "missed": self.missed}, arrays

    @classmethod
    def read(cls, told: Any, arrays: Any) -> Beliefs:
        """Back from :meth:`state`.

        Raises:
            ValueError, KeyError, TypeError: anything that is no even grid, no distribution, or no number above 0.
        """
        names = ("grid", "prior", "error", "middle", "width")
        grid, prior, error, middle, width = (known(name, arrays[name]) for name in names)
        if not 2 <= grid.size == prior.size <= MOST_POINTS:
            raise ValueError("a prior's grid is of another size")
        steps = np.diff(grid)
        if not (steps[0] > 0 and np.allclose(steps, steps[0], rtol=1e-6, atol=0.0)):
            raise ValueError("a prior's grid is not even")
        if not ((prior >= LEAST / 2).all() and math.isclose(float(prior.sum()), 1.0, rel_tol=1e-6)):
            raise ValueError("a prior is no distribution")
        if not (1 <= error.size == middle.size == width.size <= MOST_POINTS and (np.diff(error) > 0).all()):
            raise ValueError("what a prior depends on does not fit")
        if not (error[0] >= 0 and (width >= 1.0 / LARGEST).all()):
            raise ValueError("a spread is not above 0")
        return cls(
            grid, prior, error, middle, width, stored(told["variance"], 1.0 / LARGEST), stored(told["missed"], 0.0)
        )


def learned_beliefs(net: Floats, stderr: Floats, weight: Floats | None = None, missed: float = 1.0) -> Beliefs:
    """The prior under which held-out estimates are likeliest: nonparametric maximum likelihood on a grid.

    Kiefer, Wolfowitz 1956; by EM as in Jiang, Zhang 2009, stopped early so that it stays smooth. It needs no shape:
    where hardly anybody is moved it has a hump at 0, and an estimate above the threshold with a wide error is then
    taken for what it likely is, a unit of the hump.

    Args:
        net: (n,) estimated net effects of rows that did not fit the model, finite.
        stderr: (n,) their standard errors, not all 0.
        weight: (n,) of the rows.
        missed: see ``Beliefs``.
    """
    w = np.ones(net.size) if weight is None else weight
    variance = float(np.average(stderr * stderr, weights=w))
    error, middle, width = _by_error(net, stderr, w, math.sqrt(variance / MOST_RATIO))
    rows = np.random.default_rng(0).permutation(net.size)[:ROWS]
    flat = Beliefs(np.array([0.0, 1.0]), np.array([0.5, 0.5]), error, middle, width, variance, missed)
    m, scale, ratio = flat._standing(stderr[rows])
    z = (net[rows] - m) / scale
    lower, upper = np.quantile(z, [TAIL, 1.0 - TAIL])
    pad = 1.5 * math.sqrt(float(ratio.mean()))
    grid = np.linspace(lower - pad, upper + pad, POINTS)
    prior = np.full(POINTS, 1.0 / POINTS)
    flat = Beliefs(grid, prior, error, middle, width, variance, missed)
    likelihood = flat.posterior(net[rows], stderr[rows]).p  # up to a factor of its own for each row
    share = w[rows] / w[rows].sum()
    for _ in range(STEPS):
        prior = prior * (likelihood.T @ (share / (likelihood @ prior)))
    prior = np.maximum(prior, LEAST)
    return Beliefs(grid, prior / prior.sum(), error, middle, width, variance, missed)


def _by_error(net: Floats, stderr: Floats, weight: Floats, least: float) -> tuple[Floats, Floats, Floats]:
    """Mean standard error, mean and standard deviation of the estimates of groups with rising errors, (g,) each."""

    def told(rows: NDArray[np.intp]) -> tuple[float, float, float]:
        w = weight[rows]
        mean = float(np.average(net[rows], weights=w))
        return float(np.average(stderr[rows], weights=w)), mean, float(np.average((net[rows] - mean) ** 2, weights=w))

    _, centre, spread = told(np.arange(net.size))
    inner = np.unique(np.quantile(stderr, np.linspace(0.0, 1.0, GROUPS + 1)[1:-1]))
    group = np.searchsorted(inner, stderr, side="right")
    found = []
    for k in np.unique(group):
        rows = np.flatnonzero(group == k)
        error, mean, variance = told(rows)
        own = rows.size / (rows.size + KEPT)
        blended = own * variance + (1.0 - own) * spread
        found.append((error, own * mean + (1.0 - own) * centre, max(math.sqrt(blended), least)))
    error, middle, width = np.array(found).T
    return error, middle, width
