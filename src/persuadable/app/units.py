"""In what an effect is counted: percentage points of a yes-or-no outcome, or the outcome's own unit per head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from persuadable.report.words import column, interval, number, percent

__all__ = ["Unit", "people"]


@dataclass(frozen=True, slots=True)
class Unit:
    """How effects on an outcome, and the outcome itself, are written.

    Attributes:
        outcome: its name.
        binary: whether it is 0 or 1, so that a difference in its mean is one of percentage points.
    """

    outcome: str
    binary: bool

    @classmethod
    def of(cls, policy: Mapping[str, Any], evaluation: Mapping[str, Any] | None) -> Unit:
        """The unit of what the service's policy raises."""
        return cls(str(policy["outcome"]), bool((evaluation or {}).get("binary", False)))

    @property
    def name(self) -> str:
        """What follows a number: percentage points, or visit per head."""
        return "percentage points" if self.binary else f"{self.outcome} per head"

    def scaled(self, values: ArrayLike) -> NDArray[np.float64]:
        """Effects as the axis of a figure shows them."""
        return np.asarray(values, dtype=np.float64) * (100.0 if self.binary else 1.0)

    def axis(self, what: str) -> str:
        """The title of an axis of effects."""
        return f"{what}, percentage points" if self.binary else f"{what} per head"

    @property
    def gained(self) -> str:
        """The title of an axis of gains."""
        return f"{self.outcome} gained, percentage points" if self.binary else f"{self.outcome} gained per head"

    def bare(self, effect: float, *, signed: bool = False) -> str:
        """An effect as a number without its unit."""
        value = float(self.scaled(effect))
        text = f"{value:z.2f}".replace("-", "−") if self.binary else number(value, 3)
        return f"+{text}" if signed and value > 0 else text

    def amount(self, effect: float, *, signed: bool = False) -> str:
        """An effect with its unit: 6.35 percentage points."""
        return f"{self.bare(effect, signed=signed)} {self.name}"

    def by(self, effect: float) -> str:
        """An effect where the outcome was just named: raises visit by 6.35 percentage points, or by 0.0635 per head."""
        return f"{self.bare(effect)} {'percentage points' if self.binary else 'per head'}"

    def aligned(self, effects: Sequence[float]) -> list[str]:
        """Effects without their unit, all to the same number of decimals."""
        return [self.bare(effect) for effect in effects] if self.binary else column(list(map(float, effects)))

    def between(self, low: float, high: float) -> str:
        """An interval of effects, without the unit."""
        if not self.binary:
            return interval(low, high)
        return f"{100 * low:z.2f} to {100 * high:z.2f}".replace("-", "−")

    def level(self, mean: float) -> str:
        """The mean of the outcome itself: 12.9%, or 1.24 spend per head."""
        return percent(mean) if self.binary else f"{number(mean, 3)} {self.outcome} per head"

    def levels(self, low: float, high: float) -> str:
        """An interval of the mean."""
        return f"{percent(low)} to {percent(high)}" if self.binary else interval(low, high)

    def totals(self, users: float, *effects: float, signed: bool = False) -> list[str]:
        """What effects per head come to over many users, all to the same number of decimals: none from 20 on."""
        sums = [effect * users for effect in effects]
        largest = max(map(abs, sums))
        decimals = 0 if largest >= 20 else 1 if largest >= 2 else 2
        plus = "+" if signed else ""
        return [f"{value:{plus}z,.{decimals}f}".replace("-", "−") for value in sums]


def people(share: float, population: int) -> int:
    """How many users a share of a population is."""
    return round(share * population)
