"""What a policy that sets a dose is worth (a discount, a bid), from doses that another policy set at random.

No logged dose t is exactly the candidate's dose τ(x), so rounds count by how near the two are. With a kernel K and a
bandwidth h a round's weight is

    w = K((t − τ) / h) / (h · m · e(t | x)),   m = ∫ K((u − τ) / h) / h du over the doses there are,

e(t | x) the density with which t was drawn. The mass m is 1 but near a bound of the interval, where part of the
kernel has no doses to rest on (boundary correction).

Weighting like this estimates, without bias, the value of a policy that draws its dose from the kernel around τ. So
the interval is about that jittered policy; the candidate itself differs from it by a bias of order h² inside the
interval (order h at a bound), which no interval knows of. A smaller h has less of it and more noise; see
``choose_bandwidth``. With a model, only what the model misses is smoothed.

Source: Kallus and Zhou (2018), "Policy evaluation and optimization with continuous treatments".
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr

from persuadable.errors import DataError, OutcomeError, ParameterError, PropensityError
from persuadable.spaces import Continuous
from persuadable.value.estimate import Floats, influence_covariance, normal_quantile
from persuadable.value.ope.intervals.influence import Ratios
from persuadable.value.ope.slope import paired_slope
from persuadable.value.ope.terms import Terms

if TYPE_CHECKING:
    import polars as pl

__all__ = ["SHAPES", "BandwidthChoice", "Kernel", "choose_bandwidth", "kernel_dr", "kernel_ips", "kernel_snips"]


def _gaussian(u: Floats) -> Floats:
    return np.asarray(np.exp(-0.5 * u * u) / math.sqrt(2 * math.pi))


def _epanechnikov(u: Floats) -> Floats:
    return np.asarray(0.75 * np.maximum(0.0, 1 - u * u))


def _epanechnikov_below(u: Floats) -> Floats:
    v = np.clip(u, -1.0, 1.0)
    return np.asarray(0.5 + 0.75 * v - 0.25 * v**3)


def _triangular(u: Floats) -> Floats:
    return np.asarray(np.maximum(0.0, 1 - np.abs(u)))


def _triangular_below(u: Floats) -> Floats:
    v = np.clip(u, -1.0, 1.0)
    return np.asarray(0.5 + v - 0.5 * v * np.abs(v))


Function = Callable[[Floats], Floats]
SHAPES: Final[dict[str, tuple[Function, Function]]] = {
    "gaussian": (_gaussian, ndtr),
    "epanechnikov": (_epanechnikov, _epanechnikov_below),
    "triangular": (_triangular, _triangular_below),
}
"""Density and distribution function of each kernel, of bandwidth 1."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """How near a logged dose must be to count.

    Args:
        bandwidth: h > 0, in the unit of the dose; the standard deviation of "gaussian", half the width of the others.
        shape: "gaussian", "epanechnikov" or "triangular".
        space: the doses there are; where it is bounded, kernels are cut off there and scaled back to mass 1.

    Raises:
        ParameterError: a bandwidth that is not positive and finite, or an unknown shape.
    """

    bandwidth: float
    shape: str = "epanechnikov"
    space: Continuous = field(default_factory=Continuous)

    def __post_init__(self) -> None:
        if not (self.bandwidth > 0 and math.isfinite(self.bandwidth)):
            raise ParameterError(f"bandwidth is {self.bandwidth!r}", remedy="Pass a positive number, in dose units.")
        if self.shape not in SHAPES:
            raise ParameterError(f"shape is {self.shape!r}", remedy=f"Choose one of {list(SHAPES)}.")

    def density(self, doses: ArrayLike, centre: ArrayLike) -> Floats:
        """(n,) density at a dose of the kernel around a centre, integrating to 1 over the space.

        Raises:
            ActionError: a dose or centre outside the space.
        """
        t, tau = self.space.check(doses, "doses"), self.space.check(centre, "candidate")
        if t.shape != tau.shape:
            raise DataError(
                f"{t.shape[0]} doses for {tau.shape[0]} of the candidate", remedy="Give one of each per round."
            )
        height, below = SHAPES[self.shape]
        h = self.bandwidth
        mass = below((self.space.upper - tau) / h) - below((self.space.lower - tau) / h)
        return np.asarray(height((t - tau) / h) / (h * mass))

    def weights(self, doses: ArrayLike, candidate: ArrayLike, density: ArrayLike) -> Floats:
        """(n,) density of the kernel around the candidate's dose over the density with which the dose was drawn.

        Args:
            doses: (n,) doses given.
            candidate: (n,) doses the candidate would give.
            density: (n,) density, per unit of dose, with which each dose was drawn.

        Raises:
            ActionError: a dose outside the space.
            DataError: arrays of different lengths.
            PropensityError: a density that is not positive and finite.
        """
        near = self.density(doses, candidate)
        e = np.asarray(density, dtype=np.float64)
        if e.shape != near.shape:
            raise DataError(f"density has shape {e.shape}, expected {near.shape}", remedy="Give one per round.")
        wrong = ~((e > 0) & np.isfinite(e))
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            raise PropensityError(
                f"density holds {e[row]}",
                where=f"row {row}",
                remedy="Pass the density with which the dose was drawn, positive and finite.",
            )
        return near / e


def kernel_ips(outcome: ArrayLike, doses: ArrayLike, candidate: ArrayLike, density: ArrayLike, kernel: Kernel) -> Terms:
    """Terms of mean(w y), the value of the candidate jittered by the kernel.

    Args:
        outcome: (n,) y.
        doses: (n,) doses given.
        candidate: (n,) doses the candidate would give.
        density: (n,) density, per unit of dose, with which each dose was drawn.
        kernel: how near a dose must be to count.

    Raises:
        DataError: arrays that do not match or hold what is no outcome, dose or density.
    """
    weight = kernel.weights(doses, candidate, density)
    return Terms(weight * _numbers(outcome, weight, "outcome"))


def kernel_snips(
    outcome: ArrayLike, doses: ArrayLike, candidate: ArrayLike, density: ArrayLike, kernel: Kernel
) -> Terms:
    """Terms of mean(w y) / mean(w); arguments and errors as in ``kernel_ips``."""
    weight = kernel.weights(doses, candidate, density)
    return Terms(weight * _numbers(outcome, weight, "outcome"), weight=weight)


def kernel_dr(
    outcome: ArrayLike,
    doses: ArrayLike,
    candidate: ArrayLike,
    density: ArrayLike,
    kernel: Kernel,
    *,
    q_logged: ArrayLike,
    q_candidate: ArrayLike,
    self_normalised: bool = False,
) -> Terms:
    """Terms of mean(q̂(x, τ)) + mean(w (y − q̂(x, t))): only what the model misses is weighted, and smoothed.

    Its bias is that of smoothing μ − q̂ in the place of μ, nothing where q̂ is right; a bad q̂ helps neither bias nor
    variance. Some implementations take q̂(x, τ) in both places, which smooths all of μ: pass the same array twice.

    Args:
        outcome: (n,) y.
        doses: (n,) doses t given.
        candidate: (n,) doses τ the candidate would give.
        density: (n,) density, per unit of dose, with which each dose was drawn.
        kernel: how near a dose must be to count.
        q_logged: (n,) predicted outcome at the dose given, by a model that was not fitted on these rounds.
        q_candidate: (n,) predicted outcome at the candidate's dose.
        self_normalised: divide by mean(w).

    Raises:
        DataError: arrays that do not match or hold what is no outcome, dose, density or prediction.
    """
    weight = kernel.weights(doses, candidate, density)
    residual = _numbers(outcome, weight, "outcome") - _numbers(q_logged, weight, "q_logged")
    direct = _numbers(q_candidate, weight, "q_candidate")
    return Terms(weight * residual, direct, weight if self_normalised else None)


@dataclass(frozen=True, slots=True, eq=False)
class BandwidthChoice:
    """The bandwidths that were tried and the one to use.

    Attributes:
        kernel: the one to use, of bandwidth undersmooth · accepted.
        accepted: the largest bandwidth whose estimate differs from no smaller one's by more than chance.
        bandwidths: (k,) tried, ascending: from least bias to least noise.
        values: (k,) estimates.
        stderrs: (k,) their standard errors.
    """

    kernel: Kernel
    accepted: float
    bandwidths: Floats
    values: Floats
    stderrs: Floats

    def frame(self) -> pl.DataFrame:
        """One row per bandwidth: its estimate, its standard error and whether it is no larger than accepted."""
        import polars as pl

        return pl.DataFrame(
            {
                "bandwidth": self.bandwidths,
                "value": self.values,
                "stderr": self.stderrs,
                "accepted": self.bandwidths <= self.accepted,
            }
        )


def choose_bandwidth(
    terms: Callable[[Kernel], Terms],
    bandwidths: ArrayLike,
    *,
    shape: str = "epanechnikov",
    space: Continuous | None = None,
    undersmooth: float = 0.5,
    alpha: float = 0.05,
    clusters: NDArray[Any] | None = None,
    weight: NDArray[Any] | None = None,
) -> BandwidthChoice:
    """A bandwidth small enough that its bias drowns in the noise, and no smaller.

    Lepski's (1990) principle: from small to large, accept a bandwidth as long as its estimate differs from that of no
    smaller one by more than z standard errors of their paired difference, z for alpha shared among all k(k − 1)/2
    pairs. What is accepted has a bias about as large as the noise, so the bandwidth to use is a part of it: a half
    for the smallest error, a quarter where an interval about the candidate itself is to be trusted.

    SLOPE (Su, Srinath and Krishnamurthy 2020) compares separate intervals; as the estimates share their rounds, their
    differences are far less noisy than that, and it accepts bandwidths several times larger.

    Args:
        terms: what the estimator makes of a kernel, such as ``lambda kernel: kernel_ips(y, t, tau, e, kernel)``.
        bandwidths: (k,) to be tried, in dose units, different and positive; each twice the one before will do.
        shape: of the kernel.
        space: the doses there are; None is unbounded.
        undersmooth: which part of the accepted bandwidth to use, in (0, 1].
        alpha: chance of accepting less than all where there is no bias at all.
        clusters: (n,) ids that repeat where rounds belong together.
        weight: (n,) row weights.

    Raises:
        ParameterError: no bandwidth, one twice or not positive, or undersmooth or alpha out of range.
        DataError: as the estimator raises.
    """
    tried = np.unique(np.asarray(bandwidths, dtype=np.float64))
    if not tried.size or tried.size != np.size(bandwidths):
        raise ParameterError("bandwidths are empty or repeat", remedy="Pass different ones, np.geomspace(0.1, 10, 8).")
    if not 0 < undersmooth <= 1:
        raise ParameterError(f"undersmooth is {undersmooth!r}", remedy="Pass a number above 0 and at most 1.")
    there = space or Continuous()
    found = [Ratios.of(terms(Kernel(float(h), shape, there))).by_unit(clusters, weight) for h in tried]
    values, covariance = (
        np.array([each.value() for each in found]),
        influence_covariance([each.psi() for each in found]),
    )
    z = normal_quantile(alpha / max(1, tried.size * (tried.size - 1) // 2))
    accepted = float(tried[paired_slope(values, covariance, z)])
    kernel = Kernel(undersmooth * accepted, shape, there)
    return BandwidthChoice(kernel, accepted, tried, values, np.sqrt(np.diagonal(covariance)))


def _numbers(values: ArrayLike, weight: Floats, name: str) -> Floats:
    """(n,) finite numbers."""
    given = np.asarray(values, dtype=np.float64)
    error = OutcomeError if name == "outcome" else DataError
    if given.shape != weight.shape:
        raise error(f"{name} has shape {given.shape}, expected {weight.shape}", remedy="Give one per round.")
    if not np.isfinite(given).all():
        row = int(np.flatnonzero(~np.isfinite(given))[0])
        raise error(f"{name} holds {given[row]}", where=f"row {row}", remedy="Give finite numbers.")
    return given
