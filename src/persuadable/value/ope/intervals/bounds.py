"""How far apart an estimator's terms can lie, from what is known beforehand of outcomes and weights."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from persuadable.errors import DataError, ParameterError
from persuadable.value.estimate import Floats
from persuadable.value.ope.terms import Terms

__all__ = ["Bounds"]


@dataclass(frozen=True, slots=True)
class Bounds:
    """What must hold for every row there could be, not only for those in the log.

    Attributes:
        outcome: (lowest, highest) value the outcome can take; predictions are held to it too.
        weight: the largest weight the estimator can give a row: 1 over the smallest propensity of an action the policy
            may take, or the clip where weights are clipped.

    Raises:
        ParameterError: an empty or unbounded range, or a weight that is not positive.
    """

    outcome: tuple[float, float]
    weight: float

    def __post_init__(self) -> None:
        try:
            lower, upper = (float(end) for end in self.outcome)
        except (TypeError, ValueError):
            lower, upper = math.nan, math.nan
        if not (math.isfinite(lower) and math.isfinite(upper) and lower < upper):
            raise ParameterError(
                f"The outcome's range is {self.outcome!r}",
                remedy="Pass two finite numbers, the lower first: (0.0, 1.0).",
            )
        if not isinstance(self.weight, int | float | np.number) or not 0 < self.weight < math.inf:
            raise ParameterError(
                f"The largest weight is {self.weight!r}",
                remedy="Pass 1 over the smallest propensity, or clip the weights and pass the clip.",
            )

    @property
    def direct_width(self) -> float:
        """How far apart two predictions can lie, Δ: the width of the outcome's range."""
        return self.outcome[1] - self.outcome[0]

    def weighted_width(self, terms: Terms) -> float:
        """How far apart two weighted terms can lie.

        IPS, w·y: from min(0, W·lowest) to max(0, W·highest). SNIPS, w(y − θ) with θ in the range: W·Δ. With predictions
        residuals lie within ±Δ, so 2·W·Δ; and 0 where nothing is weighted, as in the direct method.
        """
        lower, upper = self.outcome
        if terms.direct is None:
            if terms.weight is not None:
                return self.weight * self.direct_width
            return self.weight * (max(0.0, upper) - min(0.0, lower))
        return 2 * self.weight * self.direct_width if terms.weighted.any() else 0.0

    def check(self, terms: Terms) -> None:
        """Refuse terms that these bounds rule out.

        Raises:
            DataError: a row outside, and which.
        """
        lower, upper = self.outcome
        residual = self.weight * self.direct_width
        if terms.direct is None:
            self._within(
                "weight times outcome", terms.weighted, self.weight * min(0.0, lower), self.weight * max(0.0, upper)
            )
        else:
            self._within("a predicted outcome", terms.direct, lower, upper)
            self._within("weight times residual", terms.weighted, -residual, residual)
        if terms.weight is not None:
            self._within("a weight", terms.weight, 0.0, self.weight)

    def _within(self, what: str, column: Floats, lowest: float, highest: float) -> None:
        slack = 1e-9 * (highest - lowest)
        wrong = np.flatnonzero(~((column >= lowest - slack) & (column <= highest + slack)))
        if wrong.size:
            row = int(wrong[0])
            raise DataError(
                f"{what.capitalize()} is {column[row]:.6g}, outside [{lowest:.6g}, {highest:.6g}], which outcomes in "
                f"[{self.outcome[0]:g}, {self.outcome[1]:g}] and weights up to {self.weight:g} allow",
                where=f"row {row}, and {wrong.size - 1:,} more",
                remedy="Widen the bounds to what is possible, or clip weights and predictions to them.",
            )
