"""How far apart two groups are, in what, and how sure that is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from persuadable.value.estimate import Estimate, Floats, normal_quantile
from persuadable.value.fair.material import BENEFIT, GAP, POTENTIAL, REACHED, SELECTION
from persuadable.value.fair.means import GroupMeans
from persuadable.value.ope.ratio import Ratio, fieller

__all__ = [
    "Disparity",
    "Measure",
    "benefit_disparity",
    "calibration_disparity",
    "opportunity",
    "opportunity_disparity",
    "rate_spread",
    "selection_disparity",
    "shown_to_gain",
]

Measure = Literal["selection", "benefit", "opportunity", "calibration"]
Status = Literal["below", "met", "differs", "open"]


@dataclass(frozen=True, slots=True)
class Disparity:
    """Two groups of a segment in one measure.

    Its intervals belong to a family: all those of one audit hold together with its 1 − alpha.

    Attributes:
        segment: name of the column of groups.
        measure: "selection", "benefit", "opportunity" or "calibration" (realised less predicted effect).
        group: the group with the lower value.
        against: the group with the higher one.
        difference: value of ``group`` less that of ``against``.
        ratio: one over the other, for selection (disparate impact) and opportunity; None where the higher one is 0.
        ratio_interval: smallest interval that holds its set; (−∞, ∞) where the set is unbounded.
        threshold: the least ratio asked for; None for benefit and calibration.
    """

    segment: str
    measure: Measure
    group: str
    against: str
    difference: Estimate
    ratio: float | None
    ratio_interval: tuple[float, float] | None
    threshold: float | None

    @property
    def status(self) -> Status:
        """For a ratio: shown to be "below" the threshold, shown to have "met" it, or "open". For a difference: shown to
        differ from 0 ("differs"), or "open"."""
        if self.threshold is None:
            lower, upper = self.difference.interval
            return "differs" if lower > 0.0 or upper < 0.0 else "open"
        if self.ratio_interval is None:
            return "open"
        lower, upper = self.ratio_interval
        return "below" if upper < self.threshold else "met" if lower >= self.threshold else "open"

    @property
    def alarm(self) -> bool:
        """Whether it is one: a ratio below the threshold, or effects foretold less well for one group.

        A difference in benefit alone is none: there may be less to be had. That is what opportunity divides by.
        """
        return self.status == "below" or (self.measure == "calibration" and self.status == "differs")

    def __str__(self) -> str:
        who = f"{self.segment} {self.group!r}"
        lower, upper = self.difference.interval
        apart = f"{self.difference.value:+.4g} ({lower:+.4g} to {upper:+.4g})"
        if self.measure == "benefit":
            return f"{who} gains {apart} per member against {self.against!r}"
        if self.measure == "calibration":
            return f"{who}: the effect falls short of the predicted one by more than for {self.against!r}, {apart}"
        what = "is selected at" if self.measure == "selection" else "has its effect reached at"
        if self.ratio is None or self.ratio_interval is None:
            return f"{who} against {self.against!r}: {self.measure} {apart}, no ratio"
        low, high = self.ratio_interval
        asked = f", {self.threshold:.0%} asked" if self.threshold is not None else ""
        return f"{who} {what} {self.ratio:.0%} of the rate of {self.against!r} ({_limits(low, high)}{asked})"


def _limits(lower: float, upper: float) -> str:
    return f"{lower:.0%} to {upper:.0%}" if math.isfinite(upper) else "not bounded"


def rate_spread(means: GroupMeans, g: int) -> tuple[float, float]:
    """A group's selection rate with half a member selected and half a member not added to it, and its variance.

    So a rate of 0 or 1 among few is not taken for certain (Walter 1975); where many are, it changes nothing.
    """
    rate, size = float(means.mean[g, SELECTION]), float(means.size[g])
    added = 0.5 * (1.0 - rate) ** 2 + 0.5 * rate**2
    variance = float(means.covariance[g, g, SELECTION, SELECTION])
    return (size * rate + 0.5) / (size + 1.0), variance + added / size**2


def selection_disparity(
    means: GroupMeans, pair: tuple[int, int], segment: str, labels: tuple[str, ...], threshold: float, alpha: float
) -> Disparity:
    """Statistical parity difference and disparate impact of two groups.

    The ratio's interval is exp(ln(r_g/r_h) ± z·√(Var r_g/r_g² + Var r_h/r_h² − 2 Cov/(r_g r_h))) (Katz et al. 1978;
    Morris and Lobsenz 2000 for the four-fifths rule), with the rates of ``rate_spread``.
    """
    g, h = _ordered(pair, means.mean[:, SELECTION])
    (rate_g, var_g), (rate_h, var_h) = rate_spread(means, g), rate_spread(means, h)
    shared = float(means.covariance[g, h, SELECTION, SELECTION])
    low, high = float(means.mean[g, SELECTION]), float(means.mean[h, SELECTION])
    stderr = math.sqrt(max(var_g + var_h - 2.0 * shared, 0.0))
    difference = _difference(means, (g, h), low - high, stderr, alpha, "statistical parity difference")
    ratio, limits = None, None
    if high > 0.0:
        log_var = var_g / rate_g**2 + var_h / rate_h**2 - 2.0 * shared / (rate_g * rate_h)
        half = normal_quantile(alpha) * math.sqrt(max(log_var, 0.0))
        centre = rate_g / rate_h
        ratio = low / high
        limits = (0.0 if low == 0.0 else min(centre * math.exp(-half), ratio), max(centre * math.exp(half), ratio))
    return Disparity(segment, "selection", labels[g], labels[h], difference, ratio, limits, threshold)


def benefit_disparity(
    means: GroupMeans, pair: tuple[int, int], segment: str, labels: tuple[str, ...], alpha: float
) -> Disparity:
    """Difference in benefit per member."""
    return _plain(means, pair, BENEFIT, "benefit", segment, labels, alpha)


def calibration_disparity(
    means: GroupMeans, pair: tuple[int, int], segment: str, labels: tuple[str, ...], alpha: float
) -> Disparity:
    """Difference in how far the realised effects exceed the predicted ones."""
    return _plain(means, pair, GAP, "calibration", segment, labels, alpha)


def _plain(
    means: GroupMeans,
    pair: tuple[int, int],
    column: int,
    measure: Measure,
    segment: str,
    labels: tuple[str, ...],
    alpha: float,
) -> Disparity:
    g, h = _ordered(pair, means.mean[:, column])
    c = means.covariance[:, :, column, column]
    stderr = math.sqrt(max(float(c[g, g] + c[h, h] - 2.0 * c[g, h]), 0.0))
    value = float(means.mean[g, column] - means.mean[h, column])
    difference = _difference(means, (g, h), value, stderr, alpha, f"difference in {measure}")
    return Disparity(segment, measure, labels[g], labels[h], difference, None, None, None)


def shown_to_gain(means: GroupMeans, g: int, alpha: float) -> bool:
    """Whether treating all of the group's gainers is shown to bring anything, which opportunity is a share of."""
    return float(means.mean[g, POTENTIAL]) > normal_quantile(alpha) * _stderr(means, g, POTENTIAL)


def opportunity(means: GroupMeans, g: int, alpha: float, name: str) -> Ratio | None:
    """E[π_a s Γ | g] / E[s Γ | g], with Fieller's set; None where there is nothing to divide by."""
    over, under = float(means.mean[g, REACHED]), float(means.mean[g, POTENTIAL])
    covariance = means.covariance[g, g][np.ix_([REACHED, POTENTIAL], [REACHED, POTENTIAL])]
    if under == 0.0 or not np.isfinite(covariance).all():
        return None
    value = over / under
    slope = np.array([1.0, -value])
    stderr = math.sqrt(max(float(slope @ covariance @ slope), 0.0)) / abs(under)
    shape, limits = fieller(over, under, covariance, normal_quantile(alpha))
    rows = int(means.rows[g])
    return Ratio(value, stderr, shape, limits, alpha, over, under, rows, "fieller", name)


def opportunity_disparity(
    means: GroupMeans, pair: tuple[int, int], segment: str, labels: tuple[str, ...], threshold: float, alpha: float
) -> Disparity | None:
    """Two groups' opportunities N/D; None where either group is not shown to have anything to gain.

    The ratio is that of the products N_g D_h and N_h D_g, with Fieller's set: no division by what may be 0 comes before
    the question whether N_g D_h < threshold · N_h D_g. The difference is by the delta method.
    """
    if not (shown_to_gain(means, pair[0], alpha) and shown_to_gain(means, pair[1], alpha)):
        return None
    value = means.mean[:, REACHED] / np.where(means.mean[:, POTENTIAL] == 0.0, np.nan, means.mean[:, POTENTIAL])
    g, h = _ordered(pair, value)
    (n_g, d_g), (n_h, d_h) = means.mean[g, [REACHED, POTENTIAL]], means.mean[h, [REACHED, POTENTIAL]]
    joint = _joint(means, g, h)
    slope = np.array([1.0 / d_g, -n_g / d_g**2, -1.0 / d_h, n_h / d_h**2])
    stderr = math.sqrt(max(float(slope @ joint @ slope), 0.0))
    difference = _difference(means, (g, h), float(value[g] - value[h]), stderr, alpha, "difference in opportunity")
    ratio, limits = None, None
    if n_h != 0.0:
        jacobian = np.array([[d_h, 0.0, 0.0, n_g], [0.0, n_h, d_g, 0.0]])  # of N_g D_h and N_h D_g
        covariance = jacobian @ joint @ jacobian.T
        shape, found = fieller(float(n_g * d_h), float(n_h * d_g), covariance, normal_quantile(alpha))
        ratio, limits = float(value[g] / value[h]), found if shape == "interval" else (-math.inf, math.inf)
    return Disparity(segment, "opportunity", labels[g], labels[h], difference, ratio, limits, threshold)


def _joint(means: GroupMeans, g: int, h: int) -> Floats:
    """(4, 4) covariance of (N_g, D_g, N_h, D_h)."""
    at = np.ix_([REACHED, POTENTIAL], [REACHED, POTENTIAL])
    c = means.covariance
    return np.block([[c[g, g][at], c[g, h][at]], [c[h, g][at], c[h, h][at]]])


def _ordered(pair: tuple[int, int], value: Floats) -> tuple[int, int]:
    """The pair, the lower one first."""
    g, h = pair
    return (g, h) if value[g] <= value[h] else (h, g)


def _stderr(means: GroupMeans, g: int, column: int) -> float:
    return math.sqrt(float(means.covariance[g, g, column, column]))


def _difference(
    means: GroupMeans, pair: tuple[int, int], value: float, stderr: float, alpha: float, name: str
) -> Estimate:
    rows = int(means.rows[list(pair)].sum())
    return Estimate.normal(value, stderr, alpha=alpha, n=rows, name=name)
