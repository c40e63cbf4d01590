"""Empirical Bernstein intervals: they hold at every sample size, if outcomes and weights are bounded as declared."""

from __future__ import annotations

import math

import numpy as np

from persuadable.errors import DataError, ParameterError
from persuadable.value.ope.intervals.influence import Part, Ratios

__all__ = ["bernstein_interval"]


def bernstein_interval(units: Ratios, alpha: float) -> tuple[float, float]:
    """The interval of Maurer and Pontil (2009, theorem 4 and its form for independent variables), for sums of ratios.

    A mean of n independent terms that lie within a width R of one another is, with probability 1 − α, within
    √(2 s² ln(2/δ)/n) + 7 R ln(2/δ) / (3(n − 1)) of its expectation, δ = α/2 at each end and s² the sample variance. A
    ratio θ = E[x]/E[c] is held by inversion: all θ whose x − θ·c have a mean that is not further from 0 than this, so
    that what the weights happen to sum to is part of the uncertainty. Of a sum of ratios each is held at its share of α
    (Bonferroni), the ends are added. An end is infinite where the weights' own mean may be 0.

    Unlike the other intervals this one needs no normal limit, and pays for it: with few rows and large weights it is
    many times wider than they are.

    Args:
        units: independent units whose parts know their widths; see ``Ratios.of`` with bounds, and ``by_unit``.
        alpha: probability the interval may miss.

    Raises:
        ParameterError: a part without known width.
        DataError: a single unit.
    """
    if units.n < 2:
        raise DataError("There is one unit, from which no variance can be told", remedy="Pass a log of more units.")
    ends = [_part_interval(part, alpha / len(units.parts)) for part in units.parts]
    return sum(lower for lower, _ in ends), sum(upper for _, upper in ends)


def _part_interval(part: Part, alpha: float) -> tuple[float, float]:
    if part.width is None:
        raise ParameterError(
            "An empirical Bernstein interval was asked for without bounds",
            remedy="Pass bounds=Bounds(outcome=(lowest, highest), weight=largest): what could be, not what was seen.",
        )
    x, n = part.numerator, part.numerator.shape[0]
    c = np.ones(n) if part.denominator is None else part.denominator
    log_term = math.log(4 / alpha)
    slack = 7 * part.width * log_term / (3 * (n - 1))
    (sxx, sxc), (_, scc) = np.cov(x, c)
    moments = float(sxx), float(scc)
    lower = _lower_end(float(x.mean()), float(c.mean()), slack, 2 * log_term / n, *moments, float(sxc))
    upper = _lower_end(-float(x.mean()), float(c.mean()), slack, 2 * log_term / n, *moments, -float(sxc))
    return lower, -upper


def _lower_end(x: float, c: float, slack: float, g: float, sxx: float, scc: float, sxc: float) -> float:
    """The smallest θ with x − θc ≤ slack + √(g·s²(θ)), s²(θ) = s_xx − 2θ s_xc + θ² s_cc; −∞ where there is none.

    The right root of (x − slack − θc)² = g·s²(θ) is the smaller one: at the larger one the left side is negative.
    """
    a = c * c - g * scc
    if a <= 0:
        return -math.inf
    b = (x - slack) * c - g * sxc
    discriminant = b * b - a * ((x - slack) ** 2 - g * sxx)
    return (b - math.sqrt(max(discriminant, 0.0))) / a
