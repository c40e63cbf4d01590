"""How much a log knows of an action: effective rows, and the smallest difference they find."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from persuadable.design.power import TwoArms
from persuadable.design.sequential import monitor
from persuadable.errors import OutcomeError
from persuadable.log import DecisionLog

__all__ = ["ActionSupport", "Measure", "Verdict"]

Vector = NDArray[np.float64]
Verdict = Literal["keep", "pool", "prune"]


@dataclass(frozen=True, slots=True)
class ActionSupport:
    """What a log knows of an action, or of several pooled into one, against the control.

    Attributes:
        label: of the action; those of a pool joined by " | ".
        members: the actions it is made of.
        dose: depth of the offer, of a pool the mean of its members' as the log draws them; None off the dose axis.
        rows: rows that took it where the control was possible too.
        effective: effective sample size of these rows, (Σw)² / Σw² with w = weight/e summed by unit (Kish 1965).
        control: the same of the control's rows in which it was possible.
        detectable: smallest difference to the control found with the power asked for; inf where none would be.
        effect: difference of the two Hájek means, in outcome units per head.
        stderr: its standard error; says little where there are few rows.
        verdict: "keep", "pool" or "prune".
        enough: whether it meets what was asked of an action.
    """

    label: str
    members: tuple[str, ...]
    dose: float | None
    rows: int
    effective: float
    control: float
    detectable: float
    effect: float
    stderr: float
    verdict: Verdict
    enough: bool


@dataclass(frozen=True, slots=True, eq=False)
class Measure:
    """A log laid out for counting.

    Attributes:
        y: (n,) outcome.
        action: (n,) codes.
        labels: of the actions.
        e: (n, A) propensities; None where only those of the actions taken were logged.
        taken: (n,) propensities of the actions taken.
        weight: (n,) row weights.
        unit: (n,) codes of units that repeat, or None.
        binary: whether the outcome is 0 or 1.
        sd: its standard deviation.
        least, worth, power, alpha: as for ``support``.
    """

    y: Vector
    action: NDArray[np.int16]
    labels: tuple[str, ...]
    e: Vector | None
    taken: Vector
    weight: Vector
    unit: NDArray[np.intp] | None
    binary: bool
    sd: float
    least: float
    worth: float | None
    power: float
    alpha: float

    @classmethod
    def of(
        cls, log: DecisionLog, outcome: str | None, least: float, worth: float | None, power: float, alpha: float
    ) -> Measure:
        y = log.outcome(outcome)
        if np.ptp(y) == 0:
            raise OutcomeError(
                f"The outcome {outcome or log.primary!r} is {y[0]:g} in every row",
                remedy="Nothing can be told from it; name another, outcome=….",
            )
        known = log.taken_propensities is None
        return cls(
            y=y,
            action=log.action,
            labels=log.actions.names,
            e=log.propensity() if known else None,
            taken=log.taken_propensity(),
            weight=np.ones(log.n) if log.weight is None else np.asarray(log.weight, dtype=np.float64),
            unit=log.clusters,
            binary=log.is_binary(outcome),
            sd=float(y.std()),
            least=float(least),
            worth=worth,
            power=power,
            alpha=alpha,
        )

    def arm(self, members: tuple[int, ...], within: NDArray[np.bool_] | None, dose: float | None) -> ActionSupport:
        """The support of some actions taken as one, among some rows."""
        took, control = np.isin(self.action, members), self.action == 0
        chance = self.taken
        if self.e is not None:
            together = self.e[:, list(members)].sum(axis=1)
            chance = np.where(took, together, self.e[:, 0])
            took, control = took & (self.e[:, 0] > 0), control & (together > 0)
        if within is not None:
            took, control = took & within, control & within
        treated, held = self._side(took, chance), self._side(control, chance)
        detectable = self._detectable(took | control, treated.effective, held.effective)
        enough = treated.effective >= self.least and (self.worth is None or detectable <= self.worth)
        return ActionSupport(
            label=" | ".join(self.labels[code] for code in members),
            members=tuple(self.labels[code] for code in members),
            dose=dose,
            rows=int(took.sum()),
            effective=treated.effective,
            control=held.effective,
            detectable=detectable,
            effect=treated.mean - held.mean,
            stderr=math.sqrt(treated.variance + held.variance),
            verdict="keep",
            enough=enough,
        )

    def _side(self, rows: NDArray[np.bool_], chance: Vector) -> _Side:
        weight, y = self.weight[rows] / chance[rows], self.y[rows]
        if not weight.size:
            return _Side(0.0, 0.0, math.inf)
        unit = None if self.unit is None else np.unique(self.unit[rows], return_inverse=True)[1]
        by_unit = weight if unit is None else np.bincount(unit, weights=weight)
        mean = float(weight @ y / weight.sum())
        off = weight * (y - mean)
        psi, count = off if unit is None else np.bincount(unit, weights=off), by_unit.size
        variance = float(psi @ psi) / float(weight.sum()) ** 2 * count / (count - 1) if count > 1 else math.inf
        return _Side(float(weight.sum()) ** 2 / float(by_unit @ by_unit), mean, variance)

    def _detectable(self, rows: NDArray[np.bool_], treated: float, control: float) -> float:
        """Smallest difference found with the power asked for, the outcome varying in both as in the two together."""
        if not (treated > 0 and control > 0):
            return math.inf
        y, weight = self.y[rows], self.weight[rows]
        mean = float(weight @ y / weight.sum())
        units, share, looks = treated + control, treated / (treated + control), monitor("fixed", alpha=self.alpha)
        if not self.binary:
            spread = math.sqrt(float(weight @ (y - mean) ** 2 / weight.sum())) or self.sd
            return TwoArms.continuous(spread, share=share).detectable(units, self.power, looks)
        rate = (mean * y.size + 0.5) / (y.size + 1)  # Jeffreys: no rate is known to be 0 or 1
        arms = TwoArms.binary(rate, share=share)
        alike = looks.drift(self.power) * arms.stderr(units)
        if max(alike, looks.drift(self.power) * arms.stderr(units, 1 - rate)) > 1 - rate:
            return math.inf
        # A rate that rises towards 1 varies less and less; few rows are not to be trusted with that.
        return max(alike, arms.detectable(units, self.power, looks))


@dataclass(frozen=True, slots=True)
class _Side:
    """An arm: its effective rows, its Hájek mean, and the variance of that mean, C/(C − 1)·Σ_c(Σ w(y − ȳ))²/(Σw)².

    The sums are over the rows of each of C units. Where propensities go with the outcome, this is more than the
    variance over the effective rows.
    """

    effective: float
    mean: float
    variance: float
