"""How many units does a comparison of two arms need, and what can it find?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

import numpy as np

from persuadable.design.sequential import Monitoring, monitor
from persuadable.errors import ParameterError

if TYPE_CHECKING:
    import polars as pl

__all__ = ["PowerCurve", "TwoArms", "cluster_design_effect"]

POINTS = 25


@dataclass(frozen=True, slots=True)
class PowerCurve:
    """What an experiment of each size finds.

    Attributes:
        effect: the difference the powers are for, per head of all units enrolled.
        target: the power the detectable differences are for.
        units: (k,) units enrolled in both arms together.
        power: (k,) probability of finding ``effect``.
        detectable: (k,) smallest difference in the effect's direction found with probability ``target``, the margin
            in it.
    """

    effect: float
    target: float
    units: tuple[int, ...]
    power: tuple[float, ...]
    detectable: tuple[float, ...]

    def frame(self) -> pl.DataFrame:
        """One row per number of units."""
        import polars as pl

        return pl.DataFrame({"units": self.units, "power": self.power, "detectable": self.detectable})

    def __str__(self) -> str:
        lines = [f"{'units':>12}  power to find {self.effect:.4g}  found with {self.target:.0%}"]
        for units, power, detectable in zip(self.units, self.power, self.detectable, strict=True):
            lines.append(f"{units:12,}  {power:{len(f'power to find {self.effect:.4g}')}.1%}  {detectable:.4g}")
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class TwoArms:
    """A baseline and a candidate arm, and how noisy the difference of their means is.

    With N units enrolled, of which the share q goes to the candidate, and on a share s of which the two arms do
    different things, the difference per head of all N has variance

        s · (σ_c²/q + σ_b²/(1 − q)) · (1 − R²) · D / (N · m)

    where σ are standard deviations among the rows that count, R² is what covariates explain, D the design effect of
    clustering and m the rows per unit. Rows on which the arms agree have no difference to contribute and, left out,
    no noise either: at equal σ the sample shrinks by the factor s against comparing everybody. The normal quantiles
    used are those of the readout; below some 30 units an arm they promise a little too much.

    Attributes:
        baseline_sd: σ_b, standard deviation of the outcome in the baseline arm.
        candidate_sd: σ_c, in the candidate arm.
        rate: for an outcome of 0 and 1 its mean in the baseline arm; the standard deviations then follow the effect.
        share: q, share of the units given to the candidate.
        active: s, share of the units on which the two arms act differently; only these are compared.
        reduction: R², share of the variance that covariates take away (``cuped.variance_reduction``).
        design_effect: D, variance with rows that hang together over that with independent ones.
        rows_per_unit: m, rows of outcome that a randomised unit brings on average.

    Raises:
        ParameterError: a value outside its range.
    """

    baseline_sd: float
    candidate_sd: float
    rate: float | None = None
    share: float = 0.5
    active: float = 1.0
    reduction: float = 0.0
    design_effect: float = 1.0
    rows_per_unit: float = 1.0

    def __post_init__(self) -> None:
        for name in ("baseline_sd", "candidate_sd", "share", "active", "reduction", "design_effect", "rows_per_unit"):
            _require(is_number(getattr(self, name)), name, getattr(self, name), "such as 0.5")
        for name in ("baseline_sd", "candidate_sd"):
            _require(0 <= getattr(self, name) < math.inf, name, getattr(self, name), "0 or more")
        if self.rate is None:
            _require(self.baseline_sd + self.candidate_sd > 0, "the sum of the deviations", 0, "above 0")
        else:
            _require_rate(self.rate)
        _require(0 < self.share < 1, "share", self.share, "between 0 and 1")
        _require(0 < self.active <= 1, "active", self.active, "above 0 and at most 1")
        _require(0 <= self.reduction < 1, "reduction", self.reduction, "at least 0 and below 1")
        _require(0 < self.design_effect < math.inf, "design_effect", self.design_effect, "above 0")
        _require(0 < self.rows_per_unit < math.inf, "rows_per_unit", self.rows_per_unit, "above 0")

    @classmethod
    def continuous(
        cls, sd: float, candidate_sd: float | None = None, *, share: float = 0.5, active: float = 1.0
    ) -> Self:
        """Arms whose outcome has these standard deviations, the same in both where only one is given."""
        return cls(sd, sd if candidate_sd is None else candidate_sd, share=share, active=active)

    @classmethod
    def binary(cls, rate: float, *, share: float = 0.5, active: float = 1.0) -> Self:
        """Arms whose outcome is 0 or 1, with this mean in the baseline arm (where only active units count, theirs)."""
        _require_rate(rate)
        sd = math.sqrt(rate * (1 - rate))
        return cls(sd, sd, rate=rate, share=share, active=active)

    def clustered(self, rows_per_unit: float, icc: float, *, size_cv: float = 0.0) -> Self:
        """The same arms with units that bring several rows; see ``cluster_design_effect``."""
        effect = cluster_design_effect(rows_per_unit, icc, size_cv=size_cv)
        return replace(self, rows_per_unit=rows_per_unit, design_effect=effect)

    def adjusted(self, reduction: float) -> Self:
        """The same arms after covariates took away this share of the variance."""
        return replace(self, reduction=reduction)

    def unit_variance(self, effect: float = 0.0) -> float:
        """Variance of the estimated difference times the number of units enrolled.

        Raises:
            ParameterError: an effect that would carry a rate out of [0, 1].
        """
        baseline, candidate = self._variances(effect)
        noise = candidate / self.share + baseline / (1 - self.share)
        return self.active * noise * (1 - self.reduction) * self.design_effect / self.rows_per_unit

    def _variances(self, effect: float) -> tuple[float, float]:
        if self.rate is None:
            return self.baseline_sd**2, self.candidate_sd**2
        after = self.rate + effect / self.active
        if not -1e-12 <= after <= 1 + 1e-12:
            raise ParameterError(
                f"A difference of {effect:.4g} per head would carry a rate of {self.rate:.4g} to {after:.4g} "
                f"among the {self.active:.1%} of the units on which the arms differ",
                remedy=f"Ask for one between {-self.rate * self.active:.4g} and {(1 - self.rate) * self.active:.4g}.",
            )
        return self.rate * (1 - self.rate), max(0.0, after * (1 - after))

    def stderr(self, units: float, effect: float = 0.0) -> float:
        """Standard error of the difference per head, with so many units in both arms together."""
        _require(is_number(units) and 0 < units < math.inf, "units", units, "above 0")
        return math.sqrt(self.unit_variance(effect) / units)

    def power(self, effect: float, units: float, monitoring: Monitoring | None = None, *, margin: float = 0.0) -> float:
        """Probability that the difference is found to lie beyond the margin, on the side where the effect lies.

        Args:
            effect: the true difference, candidate − baseline, per head of all units enrolled.
            units: enrolled in both arms together.
            monitoring: when it is looked at; None is once, at the 5% level.
            margin: the difference it is held against.
        """
        distance = beyond(effect, margin)
        return (monitoring or monitor("fixed")).power(distance / self.stderr(units, effect))

    def units(
        self, effect: float, power: float = 0.8, monitoring: Monitoring | None = None, *, margin: float = 0.0
    ) -> int:
        """Units to enrol in both arms together so that ``effect`` is found beyond ``margin`` with this probability.

        N = V · (θ/(effect − margin))², V the variance of one unit's worth of difference and θ the drift at which the
        monitoring has that power: z_{1−alpha/2} + z_{power} for a single look.

        Raises:
            ParameterError: an effect at the margin or one no rate allows, or a power outside its range.
        """
        distance = beyond(effect, margin)
        if distance == 0:
            raise ParameterError(
                f"effect is {effect!r}" + (f", which is the margin of {margin:g}" if margin else ""),
                remedy="Pass the smallest difference per head that is worth finding, beyond the margin.",
            )
        drift = (monitoring or monitor("fixed")).drift(power)
        return max(2, math.ceil(self.unit_variance(effect) * (drift / distance) ** 2 * (1 - 1e-12)))

    def units_by_arm(self, units: int) -> tuple[int, int]:
        """How many of so many units go to the baseline and to the candidate."""
        candidate = min(max(round(units * self.share), 1), units - 1)
        return units - candidate, candidate

    def detectable(
        self, units: float, power: float = 0.8, monitoring: Monitoring | None = None, *, margin: float = 0.0
    ) -> float:
        """Smallest difference per head found above the margin with this probability (minimum detectable effect).

        Raises:
            ParameterError: a margin no rate reaches, or so few units that no difference in a rate would be found.
        """
        beyond(0.0, margin)
        drift = (monitoring or monitor("fixed")).drift(power)
        if self.rate is None:
            return margin + drift * self.stderr(units)
        from scipy.optimize import brentq

        self._variances(margin)
        largest = (1 - self.rate) * self.active

        def short(effect: float) -> float:
            return drift * self.stderr(units, effect) - (effect - margin)

        if short(largest) > 0:
            raise ParameterError(
                f"With {units:,.0f} units no difference in a rate of {self.rate:.4g} is found with probability {power}",
                remedy="Plan for more units.",
            )
        return float(brentq(short, margin, largest, xtol=1e-14))

    def curve(
        self,
        effect: float,
        units: Sequence[int] | None = None,
        *,
        power: float = 0.8,
        monitoring: Monitoring | None = None,
        margin: float = 0.0,
    ) -> PowerCurve:
        """Power for ``effect``, and what is found with probability ``power``, at each number of units.

        Args:
            effect: difference per head.
            units: numbers of units; None is 25 of them, from a tenth of what ``power`` needs to three times that, but
                never so few that no difference in a rate would be found.
            power: for the detectable differences.
            monitoring: when it is looked at; None is once, at the 5% level.
            margin: the difference ``effect`` is held against.

        Raises:
            ParameterError: an effect at the margin or one no rate allows, or ``units`` at which no difference would be
                found.
        """
        sign = math.copysign(1.0, beyond(effect, margin))
        # A rate that falls is the rate of the opposite rising.
        arms = self if self.rate is None or sign > 0 else replace(self, rate=1 - self.rate)
        if units is None:
            needed = self.units(effect, power, monitoring, margin=margin)
            most = None if arms.rate is None else (1 - arms.rate) * arms.active
            least = 2 if most is None else arms.units(most, power, monitoring, margin=sign * margin)
            units = np.unique(np.geomspace(max(least, needed / 10), 3 * needed, POINTS).round().astype(int)).tolist()
        told = tuple(int(n) for n in units)
        return PowerCurve(
            effect=effect,
            target=power,
            units=told,
            power=tuple(self.power(effect, n, monitoring, margin=margin) for n in told),
            detectable=tuple(sign * arms.detectable(n, power, monitoring, margin=sign * margin) for n in told),
        )

    def __str__(self) -> str:
        outcome = f"standard deviations {self.baseline_sd:.4g} and {self.candidate_sd:.4g}"
        if self.rate is not None:
            outcome = f"a rate of {self.rate:.4g}"
        parts = [outcome, f"{self.share:.0%} to the candidate"]
        if self.active < 1:
            parts.append(f"the arms differ on {self.active:.1%} of the units")
        if self.reduction > 0:
            parts.append(f"covariates take away {self.reduction:.1%} of the variance")
        if self.rows_per_unit != 1 or self.design_effect != 1:
            parts.append(f"{self.rows_per_unit:.3g} rows a unit, design effect {self.design_effect:.3g}")
        return "; ".join(parts)


def cluster_design_effect(rows_per_unit: float, icc: float, *, size_cv: float = 0.0) -> float:
    """Variance of a mean of rows that hang together over that of independent rows.

    1 + ((cv² + 1)·m − 1)·ρ (Kish 1965; Eldridge, Ashby and Kerry 2006 for unequal sizes).

    Args:
        rows_per_unit: m, mean rows per randomised unit.
        icc: ρ, correlation of two rows of one unit.
        size_cv: cv, standard deviation of the rows per unit over their mean.

    Raises:
        ParameterError: a value outside its range.
    """
    _require(1 <= rows_per_unit < math.inf, "rows_per_unit", rows_per_unit, "1 or more")
    _require(0 <= icc <= 1, "icc", icc, "between 0 and 1")
    _require(0 <= size_cv < math.inf, "size_cv", size_cv, "0 or more")
    return 1 + ((size_cv**2 + 1) * rows_per_unit - 1) * icc


def _require_rate(rate: object) -> None:
    fine = is_number(rate) and 0 < rate < 1  # type: ignore[operator]
    _require(fine, "rate", rate, "between 0 and 1; of a percentage, divide by 100")


def beyond(effect: float, margin: float) -> float:
    """How far an effect lies from the margin it is held against.

    Raises:
        ParameterError: either is no finite number.
    """
    for name, value in (("effect", effect), ("margin", margin)):
        _require(is_number(value) and math.isfinite(value), name, value, "in outcome units per head, finite")
    return effect - margin


def is_number(value: object) -> bool:
    """Whether this is a real number; True and "0.5" are none."""
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)


def _require(fine: bool, name: str, value: object, allowed: str) -> None:
    if not fine:
        raise ParameterError(f"{name} is {value!r}", remedy=f"Pass a number {allowed}.")
