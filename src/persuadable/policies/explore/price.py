"""The price at which a share of the units is treated: found once, on the units it has to hold for."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from persuadable.errors import ParameterError

__all__ = ["Price", "find_price"]

CLOSE = 1e-12


@dataclass(frozen=True, slots=True)
class Price:
    """What every treatment is charged so that a share is treated.

    Where the share treated jumps at the price, because units there share one score, no single price holds it: with
    probability ``lottery`` a unit is charged ``low``, else ``high``, the two floating-point neighbours of the jump.

    Attributes:
        low: in units of what the policy compares treatments by.
        high: the same, or just above.
        lottery: probability of ``low``.
        expected_share: share treated at it, of the units it was found on.
        binds: what limits the treatments, the "budget" or the "break-even" (nobody is worth more than that).
    """

    low: float
    high: float
    lottery: float
    expected_share: float
    binds: Literal["budget", "break-even"]

    @classmethod
    def free(cls, price: float, expected_share: float) -> Price:
        """No budget: the least price."""
        return cls(price, price, 1.0, expected_share, "break-even")


def find_price(share_at: Callable[[float], float], share: float, least: float) -> Price:
    """The price at which exactly ``share`` of the units is treated, but never one below ``least``.

    The share must not rise with the price. It is searched by Brent's method (1973), and where it jumps there, by
    halving down to two neighbouring numbers, between which a lottery makes the share exact.

    Args:
        share_at: price → expected share treated, at −∞ and ∞ too.
        share: the share the budget pays for.
        least: the lowest price allowed, such as 0, at which nobody is treated at a loss; may be −∞.

    Raises:
        ParameterError: even at an infinite price more are treated, for exploration.
    """
    most, fewest = share_at(least), share_at(math.inf)
    if share >= most - CLOSE:
        return Price.free(least, most)
    if share < fewest - CLOSE:
        raise ParameterError(
            f"The floor alone treats {fewest:.2%} of the units, more than the budget's share of {share:.2%}",
            remedy="Lower the floor, or raise the share.",
        )
    if share <= fewest + CLOSE:
        return Price(math.inf, math.inf, 1.0, fewest, "budget")
    low, high = _bracket(share_at, share, least)
    from scipy.optimize import brentq

    tolerance = 1e-15 * max(abs(low), abs(high))
    found = float(brentq(lambda price: share_at(price) - share, low, high, xtol=tolerance, rtol=1e-15, maxiter=500))
    reached = share_at(found)
    if abs(reached - share) <= CLOSE:
        return Price(found, found, 1.0, reached, "budget")
    # The root lies within the tolerances, twice over, so that its two sides are told apart.
    near = 2.0 * (tolerance + 1e-15 * abs(found))
    low = found if reached > share else max(low, found - near)
    high = found if reached < share else min(high, found + near)
    return _at_a_jump(share_at, share, low, high)


def _bracket(share_at: Callable[[float], float], share: float, least: float) -> tuple[float, float]:
    """Two finite prices, at the lower of which at least the share is treated and at the higher at most."""
    low, step = (least, 1.0) if math.isfinite(least) else (-1.0, 1.0)
    while share_at(low) < share:
        low *= 2.0
    high = low + step
    while share_at(high) > share and math.isfinite(high + step):
        step *= 2.0
        high = low + step
    return low, high


def _at_a_jump(share_at: Callable[[float], float], share: float, low: float, high: float) -> Price:
    more, less = share_at(low), share_at(high)
    while (middle := low + (high - low) / 2) not in (low, high):
        if (at := share_at(middle)) > share:
            low, more = middle, at
        else:
            high, less = middle, at
    lottery = (share - less) / (more - less)
    return Price(low, high, lottery, share, "budget")
