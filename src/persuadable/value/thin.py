"""Is there enough in an outcome to rank people by?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from persuadable.value.estimate import Codes, Estimate, Floats, normal_quantile
from persuadable.value.functionals import qini_influence
from persuadable.value.ranks import rank

__all__ = ["Signal", "ThinLabelWarning", "rate_within_arms", "signal"]


class ThinLabelWarning(UserWarning):
    """A late outcome says too little to rank people by, or to carry effects over from an early one."""


@dataclass(frozen=True, slots=True)
class Signal:
    """What a treatment's predicted effects on the proxy find in both outcomes, on the mature decisions.

    Attributes:
        action: the treatment.
        proxy: Qini of the predicted effects on the proxy.
        long: their Qini on the long outcome.
        rate: how much of the long outcome goes with one more of the proxy from person to person, arms apart.
        detectable: the Qini on the long outcome that would be found with the power asked for.
        power: that power.
    """

    action: str
    proxy: Estimate
    long: Estimate
    rate: float
    detectable: float
    power: float

    @property
    def expected(self) -> float:
        """The Qini on the long outcome if its effects followed those on the proxy at the rate."""
        return self.rate * self.proxy.value

    @property
    def thin(self) -> bool:
        """Whether no ranking is found in the long outcome, nor could one of the expected size be."""
        return self.long.p_value > self.long.alpha and abs(self.expected) < self.detectable

    def __str__(self) -> str:
        told = "too thin to rank by" if self.thin else "enough to rank by"
        return (
            f"ranking {self.action!r}: Qini {self.long.value:.4g} "
            f"({self.long.interval[0]:.4g} to {self.long.interval[1]:.4g}) on the long outcome, "
            f"{self.expected:.4g} expected from the proxy's, {self.detectable:.4g} detectable: {told}"
        )


def rate_within_arms(
    long: Floats, proxy: Floats, action: NDArray[np.intp], n_actions: int, weight: Floats | None
) -> float:
    """The least-squares slope of one outcome on another among people given the same action; 0 for a constant proxy."""
    w = np.ones(long.size) if weight is None else weight
    mass = np.bincount(action, weights=w, minlength=n_actions)
    centre = [
        np.divide(
            np.bincount(action, weights=w * y, minlength=n_actions), mass, out=np.zeros(n_actions), where=mass > 0
        )
        for y in (long, proxy)
    ]
    y, s = long - centre[0][action], proxy - centre[1][action]
    spread = float(w @ s**2)
    return float(w @ (s * y)) / spread if spread > 0 else 0.0


def signal(
    action: str,
    predicted: Floats,
    gains: tuple[Floats, Floats],
    rate: float,
    weight: Floats | None,
    clusters: Codes | None,
    alpha: float,
    power: float,
) -> Signal:
    """What a ranking finds in two outcomes.

    Args:
        action: the treatment.
        predicted: (m,) what is ranked by.
        gains: (m,) scores of the effect on the proxy and on the long outcome.
        rate: as in ``Signal``.
        weight, clusters: (m,) of the rows, or None.
        alpha: of the intervals and of the test that is to find the signal.
        power: with which it should.
    """
    ranks = rank(predicted, weight)

    def estimate(gamma: Floats, name: str) -> Estimate:
        value, psi = qini_influence(ranks.sort(gamma), ranks)
        return Estimate.from_influence(value, ranks.unsort(psi), alpha, clusters, weight, name=f"Qini on the {name}")

    late = estimate(gains[1], "long outcome")
    detectable = (normal_quantile(alpha) + float(ndtri(power))) * late.stderr
    return Signal(action, estimate(gains[0], "proxy"), late, rate, detectable, power)
