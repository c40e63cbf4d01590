"""As often as it is the best: Thompson's rule with its probabilities computed, not drawn."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import log_ndtr, ndtr

from persuadable.policies.base import Flags, Floats
from persuadable.policies.explore.explorer import Chances, Explorer
from persuadable.policies.explore.fill import LEAST
from persuadable.policies.explore.outlook import BreakEven, UncertainEffects, learned_from, net_outlook, net_stderr

if TYPE_CHECKING:
    from persuadable.fingerprint import Fingerprint

__all__ = ["Thompson", "best_probabilities"]

# Where a normal density bends, in standard deviations; between neighbours a polynomial follows it to 12 digits.
_KNOTS: Final = np.array([-8.3, -3.0, 0.0, 3.0, 8.3])
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(14)
_BLOCK: Final = 1 << 15  # numbers per temporary, so that a few of them fit the cache


class Thompson(Explorer):
    """Each action with the probability that it is the best, as far as the learner knows (Thompson 1933).

    The net effect of each treatment is taken as normal around the learner's, with the spread of its half-samples'
    refits as the standard deviation, independently of the other treatments; doing nothing is worth exactly 0. The
    probabilities follow by integration, so they are logged as they are, and nothing is drawn to find them.

    What the refits agree on counts as known. Trees agree where they have no data, too: they continue what they saw
    nearby. So keep a floor; without one, an action that looks bad where it was never tried is never tried there.

    Args:
        learner: an effect learner fitted with ``n_resamples`` of 10 or more.
        floor: least probability of each eligible action.
        share: share of users that may be treated, exploration included; None for no budget. The price that keeps it
            is subtracted from every treatment's net effect.
        outcome: what is to be raised; the learner's first outcome when None.
        cost: the outcome that is the treatment's cost, in the same unit; none when None.
        break_even: the effect a treatment must exceed, one number or one per treatment by label.
    """

    def __init__(
        self,
        learner: UncertainEffects,
        floor: float = LEAST,
        share: float | None = None,
        outcome: str | None = None,
        cost: str | None = None,
        break_even: BreakEven = 0.0,
    ) -> None:
        self.learner = learner
        self.floor = floor
        self.share = share
        self.outcome = outcome
        self.cost = cost
        self.break_even = break_even

    @property
    def name(self) -> str:
        """What tables call it."""
        return f"Thompson of {type(self.learner).__name__}"

    @property
    def fitted_on(self) -> Fingerprint | None:
        """The rows its learner learned from."""
        return learned_from(self.learner)

    def _chances(self, features: Any, n_actions: int, eligible: Flags | None) -> Chances:
        net = net_outlook(
            self.learner, features, n_actions, eligible, self.outcome, self.cost, self.break_even, self.name
        )
        stderr = net_stderr(self.learner, features, self.outcome, self.cost)
        return lambda price: best_probabilities(net, stderr, price)


def best_probabilities(mean: ArrayLike, stderr: ArrayLike, bar: float = 0.0) -> Floats:
    """(n, K + 1) P(no treatment exceeds the bar), and for each of K treatments P(it exceeds the bar and all others).

    With independent V_a ~ N(m_a, s_a²), P(none) = Π_a Φ((λ − m_a)/s_a) and
    P(a) = ∫_λ^∞ φ((x − m_a)/s_a)/s_a · Π_{b≠a} Φ((x − m_b)/s_b) dx, in closed form for one treatment and by
    Gauss-Legendre quadrature between the bends of the densities for several: right to about 1e-12 however the standard
    deviations differ, as long as they are well above the rounding of the means. Of treatments without spread the
    highest takes the bar's place; ties go to the first, and at the bar to doing nothing.

    Args:
        mean: (n, K), −∞ for a treatment that may not be given.
        stderr: (n, K), at least 0.
        bar: λ, what a treatment must exceed.
    """
    m, s = np.asarray(mean, dtype=np.float64), np.asarray(stderr, dtype=np.float64)
    certain = np.where(s > 0, -math.inf, m)
    champion = certain.argmax(axis=1)
    best = np.take_along_axis(certain, champion[:, None], axis=1)[:, 0]
    bars = np.maximum(best, bar)
    none, each = _against_bars(np.where(s > 0, m, -math.inf), np.where(s > 0, s, 1.0), bars)
    p = np.concatenate([none[:, None], each], axis=1)
    crowned = np.flatnonzero(best > bar)
    p[crowned, champion[crowned] + 1] = none[crowned]
    p[crowned, 0] = 0.0
    return p


def _against_bars(m: Floats, s: Floats, bars: Floats) -> tuple[Floats, Floats]:
    """(n,) P(none exceeds its row's bar) and (n, K) P(each is the one that exceeds it most)."""
    below = (bars[:, None] - m) / s
    if m.shape[1] == 1:
        return ndtr(below[:, 0]), ndtr(-below)
    log_none = log_ndtr(below).sum(axis=1)
    some = -np.expm1(log_none)
    # Far above all means, exceeding the bar is so rare that no two do: the tails themselves are the shares.
    each = ndtr(-below)
    open_rows = np.flatnonzero(some > 1e-13)
    step = max(1, _BLOCK // (_KNOTS.size * m.shape[1] * _NODES.size))
    for start in range(0, open_rows.size, step):
        rows = open_rows[start : start + step]
        each[rows] = _integrals(m[rows], s[rows], bars[rows])
    total = each.sum(axis=1)
    each *= np.divide(some, total, out=np.zeros_like(total), where=total > 0)[:, None]
    return np.exp(log_none), each


def _integrals(m: Floats, s: Floats, bars: Floats) -> Floats:
    """(n, K) ∫ from the bar of each density times the others' distribution functions."""
    # Where one of them all but certainly is higher, no other's density counts.
    start = np.maximum(bars, (m + _KNOTS[0] * s).max(axis=1))[:, None]
    knots = (m[:, :, None] + s[:, :, None] * _KNOTS).reshape(m.shape[0], -1)
    knots = np.sort(np.maximum(np.concatenate([start, knots], axis=1), start), axis=1)
    half = np.diff(knots, axis=1)[:, :, None] / 2
    x = (knots[:, :-1, None] + half * (1.0 + _NODES)).reshape(m.shape[0], -1)
    weight = (half * _WEIGHTS).reshape(m.shape[0], -1)
    z = [(x - m[:, a, None]) / s[:, a, None] for a in range(m.shape[1])]
    others = _products_without_each([ndtr(z_a) for z_a in z])
    density = [np.exp(-0.5 * z_a**2) / (math.sqrt(2 * math.pi) * s[:, a, None]) for a, z_a in enumerate(z)]
    return np.stack([(weight * f * rest).sum(axis=1) for f, rest in zip(density, others, strict=True)], axis=1)


def _products_without_each(factors: list[Floats]) -> list[Floats]:
    """For each factor the product of all the others, without dividing by what may be zero."""
    ones = np.ones_like(factors[0])
    before, after = [ones], [ones]
    for factor in factors[:-1]:
        before.append(before[-1] * factor)
    for factor in factors[:0:-1]:
        after.append(after[-1] * factor)
    return [left * right for left, right in zip(before, reversed(after), strict=True)]
